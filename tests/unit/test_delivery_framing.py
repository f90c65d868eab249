"""A chunk (RFC 3030): exactly the bytes that its command announces, however the content is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.attempt.framing import OneChunk, WrongSize

pieces = st.lists(st.binary(max_size=20), max_size=20)


@given(pieces)
def test_every_octet_goes_out_as_it_is_behind_one_command(chunks: list[bytes]) -> None:
    content = b"".join(chunks)
    chunk = OneChunk(len(content))
    assert b"".join([*map(chunk.feed, chunks), chunk.end()]) == b"BDAT %d LAST\r\n%b" % (len(content), content)


@given(pieces, st.integers(0, 400))
def test_more_or_less_than_announced_never_looks_whole(chunks: list[bytes], announced: int) -> None:
    chunk, sent = OneChunk(announced), 0
    try:
        for piece in chunks:
            sent += len(chunk.feed(piece).removeprefix(b"BDAT %d LAST\r\n" % announced))
        chunk.end()
    except WrongSize:
        assert sum(map(len, chunks)) != announced
    else:
        assert sum(map(len, chunks)) == announced
    assert sent <= announced


def test_the_error_says_what_is_wrong() -> None:
    with pytest.raises(WrongSize, match="longer than the 3 bytes"):
        OneChunk(3).feed(b"abcd")
    short = OneChunk(3)
    short.feed(b"a")
    with pytest.raises(WrongSize, match="2 of the 3 bytes"):
        short.end()
