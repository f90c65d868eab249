"""Where a message ends, and what it is; whatever the pieces it arrives in."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress.content.facts import Facts, HeaderReader, Measure, facts_of
from ingress.content.framing import DotStuffed
from jetpost.mail.header import MOST_HEADER_BYTES
from tests.fixtures.client import stuffed

ALPHABET = st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"\r\n.", b"\r\n.\r", b"a", b"\0", b"Date: x", b"Received:"])
STREAMS = st.lists(ALPHABET, max_size=40).map(b"".join)
MOST_LINE = 12


class Body(DotStuffed):
    """A content as it arrives, and what its observers see."""

    def __init__(self, most_line_bytes: int) -> None:
        super().__init__()
        self.measured, self.header = Measure(most_line_bytes), HeaderReader()

    def feed(self, data: bytes) -> bytes:
        """The content that comes out, shown to the observers."""
        content = super().feed(data)
        if content:
            self.measured.observe(content)
            self.header.observe(content)
        return content

    def facts(self) -> Facts:
        """What they saw."""
        return facts_of(self.measured, self.header.header())


def taken(stream: bytes, cuts: list[int]) -> tuple[bytes, bytes, bool, Facts]:
    """Content, rest, end and facts of a stream that arrives in pieces."""
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    body, content = Body(MOST_LINE), b""
    for start, end in itertools.pairwise(places):
        if body.ended:
            return content, body.rest + stream[start:], True, body.facts()
        content += body.feed(stream[start:end])
    return content, body.rest, body.ended, body.facts()


@given(STREAMS, st.lists(st.integers(0, 200), max_size=12))
def test_the_pieces_make_no_difference(stream: bytes, cuts: list[int]) -> None:
    stream += b"\r\n.\r\nQUIT\r\n"
    assert taken(stream, cuts) == taken(stream, [])


@given(STREAMS)
def test_one_byte_at_a_time_makes_no_difference(stream: bytes) -> None:
    stream += b"\r\n.\r\nQUIT\r\n"
    assert taken(stream, list(range(len(stream)))) == taken(stream, [])


@given(STREAMS, st.lists(st.integers(0, 200), max_size=6))
def test_a_stuffed_content_comes_back_as_it_was(content: bytes, cuts: list[int]) -> None:
    content += b"\r\n"
    received, rest, ended, facts = taken(stuffed(content) + b".\r\nNOOP\r\n", cuts)
    assert ended
    assert (received, rest) == (content, b"NOOP\r\n")
    assert facts.size == len(content)
    assert facts.nul == (b"\0" in content)
    without_pairs = content.replace(b"\r\n", b"")
    assert facts.bare == (b"\r" in without_pairs or b"\n" in without_pairs)
    assert facts.long_line == any(len(line) + 1 > MOST_LINE for line in content.split(b"\n")[:-1])


@pytest.mark.parametrize("end", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\r\n\0.\r\n"])
def test_nothing_else_ends_a_message(end: bytes) -> None:
    body = Body(1000)
    body.feed(b"Subject: x\r\n\r\nhello" + end + b"MAIL FROM:<evil@home.test>\r\n")
    assert not body.ended
    body.feed(b"\r\n.\r\n")
    assert body.ended
    assert body.facts().bare or body.facts().nul


def test_a_message_may_be_empty() -> None:
    body = Body(1000)
    assert body.feed(b".\r\nQUIT\r\n") == b""
    assert body.ended
    assert body.rest == b"QUIT\r\n"
    assert body.facts().size == 0


@pytest.mark.parametrize(
    ("content", "received", "has_date", "has_message_id"),
    [
        (b"", 0, False, False),
        (b"\r\nDate: in the body\r\n", 0, False, False),
        (b"DATE: x\r\nmessage-id : <y>\r\n\r\n", 0, True, True),
        (b"Received: a\r\nX: y\r\nreceived: b\r\n\r\nReceived: c\r\n", 2, False, False),
        (b"Resent-Date: x\r\nX-Message-ID: y\r\nSubject: a\r\n Date: z\r\n\r\n", 0, False, False),
        (b"Date: only a header\r\n", 0, True, False),
        (b"X: " + b"y" * MOST_HEADER_BYTES + b"\r\nDate: far away\r\n\r\n", 0, False, False),
    ],
)
def test_the_header_tells(content: bytes, received: int, has_date: bool, has_message_id: bool) -> None:
    body = Body(1_000_000)
    body.feed(stuffed(content) + b".\r\n")
    facts = body.facts()
    assert (facts.received, facts.has_date, facts.has_message_id) == (received, has_date, has_message_id)


@pytest.mark.parametrize(("length", "too_long"), [(MOST_LINE - 2, False), (MOST_LINE - 1, True)])
def test_a_line_is_measured_with_its_end(length: int, too_long: bool) -> None:
    body = Body(MOST_LINE)
    body.feed(b"ab\r\n" + b"x" * length + b"\r\nab\r\n.\r\n")
    assert body.facts().long_line is too_long
