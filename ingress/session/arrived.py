"""Octets that have arrived and are not read yet: command lines, or the octets of a message."""

from ingress.session.foreign import BEGINNING_BYTES

MOST_LINE_OCTETS = 12_288
"""The longest line there is, CRLF included: one of an AUTH exchange (RFC 4954, 4)."""

OVERLONG = b"." * MOST_LINE_OCTETS
"""What stands for a line that was longer than any may be: too long as well, and nobody remembers what it said."""


class Arrived:
    """What the client sent ahead of what was answered."""

    def __init__(self) -> None:
        self.octets = bytearray()
        """All of it, to be looked at: the hot path asks what there is without a call."""
        self._searched = 0
        self._is_skipping = False
        self.overlong = b""
        """How the last line began for which `OVERLONG` stands."""

    def __len__(self) -> int:
        return len(self.octets)

    def put(self, octets: bytes) -> None:
        """More has arrived."""
        self.octets += octets

    def put_back(self, octets: bytes) -> None:
        """What was taken belongs to the next command."""
        self.octets[:0] = octets

    def clear(self) -> None:
        """Forget it all."""
        self.octets.clear()
        self._searched = 0

    def line(self) -> bytes | None:
        """The next line without its CRLF, `OVERLONG` for one that is longer than any may be; None until it is whole."""
        octets = self.octets
        end = octets.find(b"\r\n", self._searched)
        if end < 0:
            if len(octets) > MOST_LINE_OCTETS:
                self._skip()
                del octets[:-1]  # the last one may be the CR of the CRLF
            self._searched = max(len(octets) - 1, 0)
            return None
        line = bytes(octets[:end])
        del octets[: end + 2]
        self._searched = 0
        if self._is_skipping or end + 2 > MOST_LINE_OCTETS:
            if not self._is_skipping:
                self.overlong = line[:BEGINNING_BYTES]
            self._is_skipping = False
            return OVERLONG
        return line

    def beginning(self) -> bytes:
        """How the next line begins, when there is more to it than `line` has given; empty within an overlong one."""
        return b"" if self._is_skipping else bytes(self.octets[:BEGINNING_BYTES])

    def _skip(self) -> None:
        if not self._is_skipping:
            self._is_skipping = True
            self.overlong = bytes(self.octets[:BEGINNING_BYTES])

    def all(self) -> bytes:
        """Everything, whatever it is; empty when there is nothing."""
        octets = bytes(self.octets)
        self.clear()
        return octets
