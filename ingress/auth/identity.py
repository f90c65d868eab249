"""What a backend answers: who the client is, or why that is not known. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Identity:
    """A user who is who they say they are."""

    name: str
    senders: tuple[str, ...] | None = None
    """Addresses the user may send as; None: the backend says nothing about it."""
    tenant: str = ""
    """Whose user it is; empty where a backend has one tenant."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """The backend does not know the user."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """It knows the user, and the proof is wrong."""


@dataclass(frozen=True, slots=True)
class Unavailable:
    """It cannot tell now: the client is to try again later (454; RFC 4954, 6), and never hears that it is wrong."""

    cause: str
    """For the log."""


Finding = Identity | Unknown | Wrong | Unavailable
