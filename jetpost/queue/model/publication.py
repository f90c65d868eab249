"""A message for a stream of the queue, before it is sent. Pure."""

from typing import NamedTuple


class Publication(NamedTuple):
    """One message for the stream."""

    subject: str
    headers: dict[str, str]
    payload: bytes

    @property
    def header_bytes(self) -> int:
        """Bytes of the headers on the wire."""
        return sum(len(name) + 4 + bytes_of(value) for name, value in self.headers.items())


def bytes_of(text: str) -> int:
    """Its bytes in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())
