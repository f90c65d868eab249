"""Octets after DATA: where the message ends, its content without dot-stuffing, and facts about it.

Only CRLF.CRLF ends a message (RFC 5321, 4.1.1.4). Fed in any pieces, the result is the same; no loop over lines.
"""

import re
from typing import NamedTuple

_END = b"\r\n.\r\n"
_SMALL_BYTES = 1024
_STUFFED = b"\r\n."
MOST_HEADER_OCTETS = 256 * 1024
"""How far into a message its header is looked at."""
_FIELDS = re.compile(rb"\r\n(received|date|message-id)[ \t]*:")


class Facts(NamedTuple):
    """What there is to say about a content."""

    size: int
    """Octets, CRLFs included, without dot-stuffing (RFC 1870, 3)."""
    received: int
    """`Received` fields: how many hosts handled it before us (RFC 5321, 6.3)."""
    has_date: bool
    has_message_id: bool
    bare: bool
    """Whether a CR or an LF stands alone somewhere (RFC 5321, 2.3.8)."""
    nul: bool
    """Whether it has a NUL octet, which neither SMTP nor a message knows (RFC 5321, 4.5.3; RFC 5322, 3.5)."""
    long_line: bool
    """Whether a line is longer than the limit, CRLF included."""


class Body:
    """One message as it arrives. Feed it until it has `ended`."""

    def __init__(self, most_line_octets: int) -> None:
        self.ended = False
        self.rest = b""
        """What followed the end of the message: the next commands of a client that pipelines."""
        # The message begins at the beginning of a line, as if a CRLF went before: the rules below need no exception.
        self._held = b"\r\n"
        self._small = bytearray()
        self._is_first = True
        self._most_line = most_line_octets
        self._line = 0
        self._size = 0
        self._carriage_returns = self._line_feeds = self._pairs = 0
        self._nul = self._long_line = False
        self._header: bytearray | None = bytearray(b"\r\n")
        self._fields: list[bytes] = []

    def feed(self, octets: bytes) -> bytes:
        """Take the next octets of the connection; the content they complete.

        Small pieces are collected first: who sends packets of one byte costs little more time and memory than others.
        """
        octets = self._collected(octets)
        if not octets:
            return b""
        octets = self._held + octets
        end = octets.find(_END)
        if end >= 0:
            self.ended = True
            self.rest = octets[end + len(_END) :]
            content = octets[: end + 2]
        else:
            held = _beginning_of_an_end(octets)
            self._held = octets[len(octets) - held :]
            content = octets[: len(octets) - held]
        if _STUFFED in content:
            content = content.replace(_STUFFED, b"\r\n")
        if self._is_first and content:
            self._is_first = False
            content = content[2:]
        if content:
            self._observe(content)
        return content

    @property
    def held_bytes(self) -> int:
        """What it keeps in memory of the message."""
        return len(self._small) + (0 if self._header is None else len(self._header))

    def facts(self) -> Facts:
        """What the content showed; meaningful once it has ended."""
        fields = self._fields if self._header is None else _FIELDS.findall(bytes(self._header).lower())
        return Facts(
            size=self._size,
            received=fields.count(b"received"),
            has_date=b"date" in fields,
            has_message_id=b"message-id" in fields,
            bare=not self._carriage_returns == self._line_feeds == self._pairs,
            nul=self._nul,
            long_line=self._long_line,
        )

    def _collected(self, octets: bytes) -> bytes:
        """`octets` and the small pieces before them, once there is enough or the end is there; empty before."""
        small = self._small
        if not small and (len(octets) >= _SMALL_BYTES or _END in octets):
            return octets
        searched = max(len(small) - len(_END) + 1, 0)
        small += octets
        if len(small) < _SMALL_BYTES and small.find(_END, searched) < 0 and _END not in self._held + small[:4]:
            return b""
        octets = bytes(small)
        small.clear()
        return octets

    def _observe(self, content: bytes) -> None:
        self._size += len(content)
        # Pieces never part a CR from its LF: `feed` holds a CR back until it knows what follows.
        self._carriage_returns += content.count(b"\r")
        self._line_feeds += content.count(b"\n")
        self._pairs += content.count(b"\r\n")
        self._nul = self._nul or b"\0" in content
        if not self._long_line:
            self._measure_lines(content)
        if self._header is not None:
            self._read_header(content)

    def _measure_lines(self, content: bytes) -> None:
        """Leap from one line end to the last one within reach, instead of from line to line."""
        start = 0
        while len(content) - start > self._most_line - self._line:
            reach = start + self._most_line - self._line
            line_feed = content.rfind(b"\n", start, reach)
            if line_feed < 0:
                self._long_line = True
                return
            start, self._line = line_feed + 1, 0
        last = content.rfind(b"\n", start)
        self._line = len(content) - last - 1 if last >= 0 else self._line + len(content) - start

    def _read_header(self, content: bytes) -> None:
        assert self._header is not None
        searched = max(len(self._header) - 3, 0)
        self._header += content[: MOST_HEADER_OCTETS - len(self._header)]
        end = self._header.find(b"\r\n\r\n", searched)
        if end < 0 and len(self._header) < MOST_HEADER_OCTETS:
            return
        header = self._header[:end] if end >= 0 else self._header
        self._fields = _FIELDS.findall(bytes(header).lower())
        self._header = None


def _beginning_of_an_end(octets: bytes) -> int:
    """How many octets at the end of `octets` may turn out to begin the end of the message."""
    return next((length for length in (4, 3, 2, 1) if octets.endswith(_END[:length])), 0)
