"""What a dialogue needs of its connection."""

from typing import Protocol

from jetpost.mail.reply import Reply


class Wire(Protocol):
    """The connection, as the conversation sees it."""

    async def line(self) -> bytes:
        """The next line of a command that has several, without its CRLF. ConnectionError when none comes."""

    def say(self, reply: Reply) -> None:
        """Send a reply together with those that follow at once."""

    def hang_up(self, reply: Reply) -> None:
        """Say `reply` and end now."""

    def ask(self, challenge: str) -> None:
        """Send a challenge of an AUTH exchange (RFC 4954, 4)."""

    async def start_tls(self) -> str:
        """Say what is to be said, forget what was heard, shake hands; TLS version and cipher (RFC 3207, 4.2)."""
