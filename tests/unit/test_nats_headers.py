"""Headers are read as nats-py reads them, and faster."""

from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client

from jetpost.jetstream.nats_client import NatsClient

_PIECES = [b"\r\n", b":", b" ", b"\t", b"\x0b", b"\x1c", b"\x85", b"\xc2\x85", b"a", b"Nats-X", b"\xff", b"\r", b"\n"]


@given(st.lists(st.sampled_from(_PIECES), max_size=15).map(b"".join))
def test_whatever_bytes_there_are_both_read_the_same(raw: bytes) -> None:
    """No name or value is lost or gained."""
    assert NatsClient._parse_header_lines(raw) == Client._parse_header_lines(raw)
