"""The RFC 5322 bytes of a message, exactly as received, in memory or by reference."""

from typing import NamedTuple


class Inline(NamedTuple):
    """Content small enough to travel with its entry."""

    data: bytes

    @property
    def size(self) -> int:
        """Bytes, CRLFs included (RFC 1870, 3)."""
        return len(self.data)


class Reference(NamedTuple):
    """Content kept once, in chunks, beside the queue; every entry of the message refers to it."""

    content_id: str
    size: int
    """Bytes in all, CRLFs included (RFC 1870, 3)."""


Content = Inline | Reference


class DotStuffer:
    """Doubles the dots that begin lines, chunk by chunk, and ends the message (RFC 5321, 4.5.2 and 4.1.1.4).

    The same bytes come out however the content is cut into chunks.
    """

    def __init__(self) -> None:
        self._tail = b"\r\n"  # the last two bytes so far: at the beginning, a line begins

    def feed(self, chunk: bytes) -> bytes:
        """The bytes to send for the next chunk."""
        joined = self._tail + chunk
        stuffed = joined.replace(b"\r\n.", b"\r\n..") if b"\n." in joined else joined
        sent = stuffed[len(self._tail) :]
        self._tail = joined[-2:]
        return sent

    def end(self) -> bytes:
        """The bytes after the last chunk: a missing CRLF, and the final dot."""
        return b".\r\n" if self._tail == b"\r\n" else b"\r\n.\r\n"
