"""A header block is told apart into fields, whatever it contains."""

import email
import email.policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetpost.mail.header import MOST_FIELDS, Header, HeaderLine, parse, text_of

PIECES = st.sampled_from([b"a: b", b"X-Y :z", b"\r\n", b"\r", b"\n", b" ", b"\t", b":", b"\0", b"\xff", b"no colon"])


@pytest.mark.parametrize(
    ("block", "names", "fields"),
    [
        (b"", (), ()),
        (b"\r\n", (), ()),
        (b"A: b\r\n", (b"a",), (b"A: b",)),
        (b"A: b\r\nC-D:e", (b"a", b"c-d"), (b"A: b", b"C-D:e")),
        (b"Subject: a\r\n Date: b\r\n\tc", (b"subject",), (b"Subject: a\r\n Date: b\r\n\tc",)),
        (b"A \t: b\r\nA: c", (b"a", b"a"), (b"A \t: b", b"A: c")),
        (b"no colon\r\nA: b", (b"no colon", b"a"), (b"no colon", b"A: b")),
        (b" begins folded: x\r\nA: b", (b" begins folded", b"a"), (b" begins folded: x", b"A: b")),
    ],
)
def test_a_block_has_fields(block: bytes, names: tuple[bytes, ...], fields: tuple[bytes, ...]) -> None:
    assert parse(block) == Header(names, fields)


@given(st.lists(PIECES, max_size=30).map(b"".join))
def test_no_byte_of_a_block_is_lost(block: bytes) -> None:
    header = parse(block)

    assert b"\r\n".join(header.fields) == block.removesuffix(b"\r\n")
    assert len(header.names) == len(header.fields)


def test_the_number_of_fields_is_bounded() -> None:
    header = parse(b"a:\r\n" * (MOST_FIELDS + 10))

    assert header.number_of(b"a") == MOST_FIELDS
    assert header.fields[-1].count(b"a:") == 11


def test_lines_of_ours_are_fields_to_others() -> None:
    text = text_of([HeaderLine("Received", "from a\r\n\tby b"), HeaderLine("Date", "now")])
    message = email.message_from_string(text + "\r\n", policy=email.policy.default)

    assert text == "Received: from a\r\n\tby b\r\nDate: now\r\n"
    assert message.keys() == ["Received", "Date"]
