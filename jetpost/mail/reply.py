"""SMTP replies and enhanced status codes (RFC 5321, 4.2; RFC 3463; RFC 2034)."""

import re
from collections.abc import Sequence
from typing import Self

import msgspec

_STATUS = re.compile(r"([245])\.([0-9]{1,3})\.([0-9]{1,3})(?:\s+|$)")


class EnhancedStatus(msgspec.Struct, frozen=True):
    """A status code of RFC 3463: class (2 success, 4 transient, 5 permanent), subject, detail."""

    klass: int
    subject: int
    detail: int

    def __str__(self) -> str:
        return f"{self.klass}.{self.subject}.{self.detail}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The status that `text` begins with, or None when it begins with none."""
        found = _STATUS.match(text)
        return cls(*(int(part) for part in found.groups())) if found else None


class Reply(msgspec.Struct, frozen=True):
    """What a server said: code, enhanced status, text lines (RFC 5321, 4.2; RFC 2034).

    Built strictly for what we send: a status whose class contradicts the code is a ValueError.
    """

    code: int
    status: EnhancedStatus | None = None
    text: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 200 <= self.code <= 599:
            raise ValueError(f"{self.code} is no SMTP reply code")
        if self.status and self.status.klass != self.code // 100:
            raise ValueError(f"status {self.status} contradicts reply {self.code}")

    @property
    def is_positive(self) -> bool:
        """True for 2yz and 3yz: the command was accepted."""
        return self.code < 400

    @property
    def is_completion(self) -> bool:
        """True for 2yz: what was asked for is done (RFC 5321, 4.2.1)."""
        return 200 <= self.code < 300

    @property
    def is_permanent(self) -> bool:
        """True for 5yz: trying again unchanged is pointless."""
        return self.code >= 500

    def __str__(self) -> str:
        """One line for logs and Diagnostic-Code: `550 5.1.1 no such user`."""
        words = [str(self.code)]
        if self.status:
            words.append(str(self.status))
        words.extend(line for line in self.text if line)
        return " ".join(words)

    def brief(self, most: int = 1000) -> Self:
        """The same with at most `most` bytes of text, line ends counted: what is worth keeping of what others say."""
        kept: list[str] = []
        for line in self.text:
            data = line.encode("utf-8", "replace")
            if len(data) >= most:
                kept.append(f"{data[:most].decode('utf-8', 'ignore')}…")
                return msgspec.structs.replace(self, text=tuple(kept))
            kept.append(line)
            most -= len(data) + 1
        return self

    def wire(self) -> bytes:
        """The reply as sent: one `code-status text` line a text line, the last with a space, CRLF each."""
        lines = self.text or ("",)
        last = len(lines) - 1
        status = f"{self.status} " if self.status else ""
        return "".join(
            f"{self.code}{' ' if number == last else '-'}{status}{line}".rstrip() + "\r\n"
            for number, line in enumerate(lines)
        ).encode("utf-8", "replace")

    @classmethod
    def heard(cls, code: int, lines: Sequence[str]) -> Self:
        """What a remote server said, read leniently: a status that contradicts the code is left in the text.

        A code outside 200–599 is heard as 451, so that nonsense defers and never bounces.
        """
        if not 200 <= code <= 599:
            return cls(451, None, (f"nonsense reply code {code}", *lines))
        statuses = [EnhancedStatus.parse(line) for line in lines]
        status = statuses[0] if statuses else None
        if status is None or status.klass != code // 100:
            return cls(code, None, tuple(lines))
        prefix = re.compile(re.escape(str(status)) + r"\s*")
        return cls(code, status, tuple(prefix.sub("", line, count=1) if prefix.match(line) else line for line in lines))
