"""The hash of a body in `relaxed` form, made while the content passes (RFC 6376, 3.4.4 and 3.7). Pure."""

import hashlib

from jetpost.sign.canonical import CRLF, relaxed_text

_END_OF_HEADER = b"\r\n\r\n"
_TAIL = 64


class BodyHash:
    """Takes a content, header included, in pieces of any size; keeps a few bytes of it.

    Contents with a CR or LF that stands alone are refused by ingress; here they have some hash.
    """

    held_bytes = 0

    def __init__(self) -> None:
        # The header begins at the beginning of a line, as if a CRLF went before: it may be empty.
        self._header_end: bytes | None = CRLF
        self._held = b""
        self._passed = hashlib.sha256()
        # As it was at the end of the last line that is not empty: lines that turn out to be the last ones do not count.
        self._certain = self._passed.copy()
        self._in_line = False

    def observe(self, content: bytes) -> None:
        """The next piece."""
        if self._header_end is not None:
            content = self._header_end + content
            end = content.find(_END_OF_HEADER)
            if end < 0:
                self._header_end = content[-3:]
                return
            self._header_end = None
            content = content[end + len(_END_OF_HEADER) :]
        self._take(content)

    def digest(self) -> bytes:
        """The SHA-256 of the body that has ended: 32 bytes. Called once."""
        if self._held.endswith(b"\r"):
            self._hash(self._held)
        if self._in_line:
            self._passed.update(CRLF)
            return self._passed.digest()
        return self._certain.digest()

    def _take(self, body: bytes) -> None:
        """What stands at the border of two pieces waits for the next: white space, and a CR."""
        text = relaxed_text(self._held + body)
        self._held = b""
        if text.endswith((b"\r", b" ")):
            self._held = next(end for end in (b" \r", b"\r", b" ") if text.endswith(end))
            text = text[: -len(self._held)]
        self._hash(text)

    def _hash(self, text: bytes) -> None:
        if not text:
            return
        end = _text_bytes(text) + len(CRLF)
        rest = memoryview(text)  # A slice of it is no copy.
        if end > len(CRLF) or self._in_line:
            self._passed.update(rest[:end])
            self._in_line = len(text) < end
            if not self._in_line:
                self._certain = self._passed.copy()
            rest = rest[end:]
        self._passed.update(rest)


def _text_bytes(text: bytes) -> int:
    """How much of `text` stands before the CRLFs at its end. Most texts have few: only those are copied."""
    end = text[-_TAIL:]
    stripped = end.rstrip(CRLF)
    return len(text) - len(end) + len(stripped) if stripped else len(text.rstrip(CRLF))
