"""What became of one recipient in one attempt."""

import msgspec

from jetpost.mail.reply import EnhancedStatus, Reply


class Delivered(msgspec.Struct, frozen=True, tag="delivered"):
    """The next host took responsibility for the message (RFC 5321, 6.1)."""

    reply: Reply
    host: str
    """The MX host that took it."""


class Deferred(msgspec.Struct, frozen=True, tag="deferred", omit_defaults=True):
    """Not now: try again later."""

    status: EnhancedStatus
    why: str
    """For people: log, DSN, `jetpost queue show`."""
    reply: Reply | None = None
    """None when no server said it."""
    host: str = ""
    """The MX host that said it, or at which the connection broke; empty when no host was reached."""


class Bounced(msgspec.Struct, frozen=True, tag="bounced", omit_defaults=True):
    """Never: the sender is told, unless the reverse-path is null."""

    status: EnhancedStatus
    why: str
    reply: Reply | None = None
    host: str = ""
    expired: bool = False
    """True when it was deferred until its lifetime ended."""


class Discarded(msgspec.Struct, frozen=True, tag="discarded"):
    """Nobody gets it, and nobody is told: a rule says so."""

    why: str
    """For people: which rule."""

    @property
    def host(self) -> str:
        """None was asked."""
        return ""


Outcome = Delivered | Deferred | Bounced | Discarded
