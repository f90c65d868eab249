"""Bytes that have arrived and are not read yet: command lines, or the bytes of a message."""

from ingress.session.foreign import BEGINNING_BYTES

MOST_LINE_BYTES = 12_288
"""The longest line there is, CRLF included: one of an AUTH exchange (RFC 4954, 4)."""

OVERLONG = b"." * MOST_LINE_BYTES
"""What stands for a line that was longer than any may be: too long as well, and nobody remembers what it said."""


class LineBuffer:
    """What the client sent ahead of what was answered."""

    def __init__(self) -> None:
        self.unread = bytearray()
        """All of it, to be looked at: the hot path asks what there is without a call."""
        self._searched = 0
        self._is_skipping = False
        self.overlong = b""
        """How the last line began for which `OVERLONG` stands."""

    def __len__(self) -> int:
        return len(self.unread)

    def put(self, data: bytes) -> None:
        """More has arrived."""
        self.unread += data

    def put_back(self, data: bytes) -> None:
        """What was taken belongs to the next command."""
        self.unread[:0] = data

    def clear(self) -> None:
        """Forget it all."""
        self.unread.clear()
        self._searched = 0

    def line(self) -> bytes | None:
        """The next line without its CRLF, `OVERLONG` for one that is longer than any may be; None until it is whole."""
        unread = self.unread
        end = unread.find(b"\r\n", self._searched)
        if end < 0:
            if len(unread) > MOST_LINE_BYTES:
                self._skip()
                del unread[:-1]  # the last one may be the CR of the CRLF
            self._searched = max(len(unread) - 1, 0)
            return None
        line = bytes(unread[:end])
        del unread[: end + 2]
        self._searched = 0
        if self._is_skipping or end + 2 > MOST_LINE_BYTES:
            if not self._is_skipping:
                self.overlong = line[:BEGINNING_BYTES]
            self._is_skipping = False
            return OVERLONG
        return line

    def beginning(self) -> bytes:
        """How the next line begins, when there is more to it than `line` has given; empty within an overlong one."""
        return b"" if self._is_skipping else bytes(self.unread[:BEGINNING_BYTES])

    def _skip(self) -> None:
        if not self._is_skipping:
            self._is_skipping = True
            self.overlong = bytes(self.unread[:BEGINNING_BYTES])

    def all(self) -> bytes:
        """Everything, whatever it is; empty when there is nothing."""
        unread = bytes(self.unread)
        self.clear()
        return unread
