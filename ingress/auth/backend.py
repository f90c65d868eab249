"""Who checks credentials: the backends in order. Adding one is a file and a line here."""

from collections.abc import Sequence
from typing import Protocol

from prometheus_client import Counter

from ingress.auth.identity import Finding, Identity, Unavailable, Unknown, Wrong
from ingress.auth.mechanisms import MECHANISMS, Question
from ingress.auth.users_file import UsersFileSettings
from jetpost.config.section import Section

ATTEMPTS = Counter(
    "jetpost_ingress_auth_total",
    "AUTH exchanges that ended. Labels: `result` is ok, wrong, unavailable or broken.",
    ["result"],
)

_WEIGHT = {Unavailable: 0, Wrong: 1, Unknown: 2}

BackendSettings = UsersFileSettings
"""The kinds of backend. Joined with `|` and told apart by `kind`."""


class Backend(Protocol):
    """Knows some users."""

    @property
    def mechanisms(self) -> frozenset[str]:
        """The names of the mechanisms whose questions it can answer."""

    async def answer(self, question: Question, client: str) -> Finding:
        """What it finds. What is dear is done in turn for each `client` address; what takes time has an end."""


class Auth(Section):
    """How users are known."""

    backends: tuple[BackendSettings, ...] = ()
    """Asked in this order. The first that knows the user and the password decides."""


def mechanisms_of(backends: Sequence[Backend]) -> tuple[str, ...]:
    """What AUTH offers: every mechanism that one of the backends can do."""
    return tuple(name for name in MECHANISMS if any(name in backend.mechanisms for backend in backends))


async def answer(question: Question, mechanism: str, client: str, backends: Sequence[Backend]) -> Finding:
    """The identity that the first backend finds which knows one.

    Otherwise, while one of them cannot tell, nobody knows; else whether one knows the user.
    """
    found: list[Finding] = []
    for backend in backends:
        if mechanism in backend.mechanisms:
            finding = await backend.answer(question, client)
            if isinstance(finding, Identity):
                return finding
            found.append(finding)
    return min(found, key=lambda it: _WEIGHT[type(it)], default=Unknown())
