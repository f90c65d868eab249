"""What there is to say about a content, observed while it passes. Pure."""

from typing import NamedTuple, Protocol

from jetpost.mail.header import MOST_HEADER_BYTES, Header, parse


class Facts(NamedTuple):
    """What there is to say about a content."""

    size: int
    """Bytes, CRLFs included, without dot-stuffing (RFC 1870, 3)."""
    received: int
    """`Received` fields: how many hosts handled it before us (RFC 5321, 6.3)."""
    has_date: bool
    has_message_id: bool
    bare: bool
    """Whether a CR or an LF stands alone somewhere (RFC 5321, 2.3.8)."""
    nul: bool
    """Whether it has a NUL byte, which neither SMTP nor a message knows (RFC 5321, 4.5.3; RFC 5322, 3.5)."""
    long_line: bool
    """Whether a line is longer than the limit, CRLF included."""


class Observer(Protocol):
    """Sees a content pass, in pieces of any size that never part a CR from its LF."""

    @property
    def held_bytes(self) -> int:
        """What it keeps in memory of the content."""

    def observe(self, content: bytes) -> None:
        """The next piece, not empty."""


class Measure:
    """Sizes, line ends, NULs and the length of lines."""

    held_bytes = 0

    def __init__(self, most_line_bytes: int) -> None:
        self.size = 0
        self.nul = self.long_line = False
        self._most_line = most_line_bytes
        self._line = 0
        self._carriage_returns = self._line_feeds = self._pairs = 0

    @property
    def bare(self) -> bool:
        """Whether a CR or an LF stands alone somewhere."""
        return not self._carriage_returns == self._line_feeds == self._pairs

    def observe(self, content: bytes) -> None:
        """Count what is in the next piece."""
        self.size += len(content)
        self._carriage_returns += content.count(b"\r")
        self._line_feeds += content.count(b"\n")
        self._pairs += content.count(b"\r\n")
        self.nul = self.nul or b"\0" in content
        if not self.long_line:
            self._measure_lines(content)

    def _measure_lines(self, content: bytes) -> None:
        """Leap from one line end to the last one within reach, instead of from line to line."""
        start = 0
        while len(content) - start > self._most_line - self._line:
            reach = start + self._most_line - self._line
            line_feed = content.rfind(b"\n", start, reach)
            if line_feed < 0:
                self.long_line = True
                return
            start, self._line = line_feed + 1, 0
        last = content.rfind(b"\n", start)
        self._line = len(content) - last - 1 if last >= 0 else self._line + len(content) - start


class HeaderReader:
    """Keeps the beginning of the content until its header is there, `MOST_HEADER_BYTES` at most."""

    def __init__(self) -> None:
        # The header begins at the beginning of a line, as if a CRLF went before: it may be empty.
        self._block: bytearray | None = bytearray(b"\r\n")
        self._header = Header((), ())

    @property
    def held_bytes(self) -> int:
        """What it keeps in memory of the content."""
        return 0 if self._block is None else len(self._block)

    def observe(self, content: bytes) -> None:
        """Look for the end of the header in the next piece."""
        block = self._block
        if block is None:
            return
        searched = max(len(block) - 3, 0)
        block += content[: MOST_HEADER_BYTES - len(block)]
        end = block.find(b"\r\n\r\n", searched)
        if end >= 0 or len(block) >= MOST_HEADER_BYTES:
            self._parse(block, end if end >= 0 else len(block))

    def header(self) -> Header:
        """The header; meaningful once it has ended, or the content has."""
        if self._block is not None:
            self._parse(self._block, len(self._block))
        return self._header

    def _parse(self, block: bytearray, end: int) -> None:
        self._header = parse(bytes(block[2:end]))
        self._block = None


def facts_of(measured: Measure, header: Header) -> Facts:
    """What the observers saw of a content that has ended."""
    return Facts(
        size=measured.size,
        received=header.number_of(b"received"),
        has_date=b"date" in header.names,
        has_message_id=b"message-id" in header.names,
        bare=measured.bare,
        nul=measured.nul,
        long_line=measured.long_line,
    )
