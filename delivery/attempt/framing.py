"""How a host tells where the content ends: by its final dot, or by the number of its bytes. Pure."""

from typing import Protocol


class WrongSize(Exception):  # noqa: N818 — a state of the world, named as one
    """The content has another size than was announced."""


class Framing(Protocol):
    """What goes out for content that is fed piece by piece, however it is cut into pieces."""

    def feed(self, chunk: bytes) -> bytes:
        """The bytes to send for the next piece. WrongSize when there is more than was announced."""

    def end(self) -> bytes:
        """The bytes after the last piece. WrongSize when there was less than was announced."""


class OneChunk:
    """`BDAT <size> LAST` and so many bytes as they are (RFC 3030, 2)."""

    def __init__(self, size: int) -> None:
        self._size = self._left = size
        self._command = b"BDAT %d LAST\r\n" % size

    def feed(self, chunk: bytes) -> bytes:
        """The next bytes. One too many would be a command to the host."""
        self._left -= len(chunk)
        if self._left < 0:
            raise WrongSize(f"it is longer than the {self._size} bytes of its entry")
        command, self._command = self._command, b""
        return command + chunk if command else chunk

    def end(self) -> bytes:
        """Nothing, unless the message is empty."""
        if self._left:
            raise WrongSize(f"{self._left} of the {self._size} bytes of its entry are missing")
        return self._command
