"""From a host's bytes to SMTP replies (RFC 5321, 4.2), read leniently and within bounds. Pure.

A line that begins with a code from 200 to 599 belongs to a reply, whatever stands behind the code and however the line
ends. Every other line is skipped. In a reply of several lines the last code counts.
"""

import re
from enum import Enum
from typing import NamedTuple

from jetpost.mail.reply import Reply

_CODE = re.compile(rb"[\0-\x20\x7f-\xff]*([2-5][0-9][0-9])(?![0-9]|[.,:/][0-9])(-?)")
"""What stands before the code is no text. `127.0.0.1 …`, `2026-11-26 …` and `250.1 …` begin with no code."""
_PLAIN = re.compile(rb"([2-5][0-9][0-9]) ([\t -~]{0,512})\r\n")
"""A reply as nearly all are: read at once."""
_NO_TEXT = re.compile(r"[\0-\x08\n-\x1f\x7f]")
"""What a reply may not contain (RFC 5321, 4.2), and nobody wants in a log or a DSN."""
_LONGEST_LINE = 2048
"""Bytes kept of a line; RFC 5321, 4.5.3.1.5 allows 512."""
_MOST_TEXT = 16 * 1024
"""Bytes kept of a reply: the list of a host's extensions has some hundred."""
_MOST_TEXT_LINES = 256
_LINES_A_TURN = 200
_SHORT = 200
"""Characters of a text that need no cutting, whatever they are in bytes."""


class Bounds(NamedTuple):
    """How much is read in search of one reply."""

    size: int
    lines: int


ORDINARY = Bounds(128 * 1024, 2_000)
AFTER_DOT = Bounds(1024 * 1024, 10_000)
"""The host may have the message: who does not find the reply sends it again."""


class Step(Enum):
    """What `ReplyReader.next` comes to when it is no reply."""

    WAIT = "wait"
    """There are no more lines: more bytes are needed."""
    TURN = "turn"
    """There are more lines: the caller gives others their turn first."""
    ENDLESS = "endless"
    """The bounds are exceeded."""


class ReplyReader:
    """Collects one reply after the other. Keeps a bounded part of what it is fed once `next` has run."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._code = 0
        self._text: list[str] = []
        self._text_room = _MOST_TEXT
        self._size = 0
        self._lines = 0

    @property
    def is_clean(self) -> bool:
        """Whether nothing has come since the last reply."""
        return not self._buffer and not self._lines

    @property
    def unread(self) -> int:
        """Bytes that were fed and not looked at."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Add what came from the host."""
        self._buffer += data

    def next(self, bounds: Bounds) -> Reply | Step:
        """The next reply, if it is there."""
        if not self._lines and (plain := _PLAIN.match(self._buffer)) is not None:
            code, text = int(plain[1]), plain[2].decode("ascii")
            del self._buffer[: plain.end()]
            return Reply.heard(code, [text])
        for _ in range(_LINES_A_TURN):
            line = self._line()
            if line is not None and self._is_last(line):
                return self._reply()
            if self._lines > bounds.lines or self._size + len(self._buffer) > bounds.size:
                return Step.ENDLESS
            if line is None:
                return Step.WAIT
        return Step.TURN

    def end(self) -> Reply | None:
        """Nothing more comes: the reply that was begun, if its code is known. An unfinished line counts (4.2.1)."""
        line = bytes(self._buffer[:_LONGEST_LINE])
        self._buffer.clear()
        self._is_last(line)
        reply = self._reply() if self._code else None
        self._lines = self._size = 0
        return reply

    def _line(self) -> bytes | None:
        """The next line without its end, cut; None when its end has not come."""
        buffer = self._buffer
        end = buffer.find(b"\n")
        if end >= 0:
            line = bytes(buffer[: min(end, _LONGEST_LINE)])
            del buffer[: end + 1]
            self._size += end + 1
            self._lines += 1
            return line
        if len(buffer) > _LONGEST_LINE:
            self._size += len(buffer) - _LONGEST_LINE
            del buffer[_LONGEST_LINE:]
        return None

    def _is_last(self, line: bytes) -> bool:
        """Keep `line` if it has a code; whether it ends a reply."""
        found = _CODE.match(line)
        if found is None:
            return False
        self._code = int(found[1])
        text = line[found.end() :].rstrip(b"\r")
        if len(self._text) < _MOST_TEXT_LINES and self._text_room > 0:
            self._text_room -= len(text)
            self._text.append(_printable(text[1:] if text[:1] in (b" ", b"\t") else text))
        return not found[2]

    def _reply(self) -> Reply:
        reply = Reply.heard(self._code, self._text)
        self._code, self._text, self._text_room = 0, [], _MOST_TEXT
        self._size = self._lines = 0
        return reply


def brief(reply: Reply) -> Reply:
    """What is worth keeping of it: most replies as they are."""
    short = len(reply.text) == 1 and len(reply.text[0]) < _SHORT
    return reply if short else reply.brief()


def _printable(text: bytes) -> str:
    return _NO_TEXT.sub("?", text.decode("utf-8", "replace"))
