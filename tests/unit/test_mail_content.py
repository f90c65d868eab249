"""Dot-stuffing: the same bytes however the content is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetpost.mail.content import DotStuffer

pieces = st.lists(st.sampled_from([b".", b"\r\n", b"\r", b"\n", b"a", b"\r\n.", b""]), max_size=30)


def stuffed(chunks: list[bytes]) -> bytes:
    stuffer = DotStuffer()
    return b"".join([*(stuffer.feed(chunk) for chunk in chunks), stuffer.end()])


@pytest.mark.parametrize(
    ("content", "wire"),
    [
        (b"", b".\r\n"),
        (b"a\r\n", b"a\r\n.\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b".\r\n", b"..\r\n.\r\n"),
        (b"a\r\n.b\r\n..\r\n", b"a\r\n..b\r\n...\r\n.\r\n"),
        (b"a\n.b\r\n", b"a\n.b\r\n.\r\n"),  # a bare LF ends no line
    ],
)
def test_dots_that_begin_lines_are_doubled(content: bytes, wire: bytes) -> None:
    assert stuffed([content]) == wire


@given(pieces)
def test_where_the_content_is_cut_makes_no_difference(chunks: list[bytes]) -> None:
    assert stuffed(chunks) == stuffed([b"".join(chunks)])


@given(pieces)
def test_the_end_of_data_comes_once_and_last(chunks: list[bytes]) -> None:
    wire = b"\r\n" + stuffed(chunks)
    assert wire.find(b"\r\n.\r\n") == len(wire) - 5


@given(pieces)
def test_what_is_unstuffed_again_is_what_was_sent(chunks: list[bytes]) -> None:
    content = b"".join(chunks)
    received = (b"\r\n" + stuffed(chunks).removesuffix(b".\r\n")).replace(b"\r\n.", b"\r\n")[2:]
    assert received in {content, content + b"\r\n"}
