"""The RFC 5322 bytes of a message, exactly as received, in memory or by reference."""

from typing import NamedTuple


class Inline(NamedTuple):
    """Content small enough to travel with its entry."""

    octets: bytes

    @property
    def size(self) -> int:
        """Octets, CRLFs included (RFC 1870, 3)."""
        return len(self.octets)


class Reference(NamedTuple):
    """Content kept once, in chunks, beside the queue; every entry of the message refers to it."""

    content_id: str
    size: int
    """Octets in all, CRLFs included (RFC 1870, 3)."""


Content = Inline | Reference
