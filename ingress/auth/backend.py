"""Who checks credentials: the backends in order. Adding one is a file and a line here."""

from collections.abc import Sequence
from typing import Protocol

from prometheus_client import Counter

from ingress.auth.mechanisms import Credentials
from ingress.auth.users_file import UsersFileSettings
from jetpost.config.section import Section

ATTEMPTS = Counter(
    "jetpost_ingress_auth_total", "AUTH exchanges that ended. Labels: `result` is ok, wrong or broken.", ["result"]
)

BackendSettings = UsersFileSettings
"""The kinds of backend. Joined with `|` and told apart by `kind`."""


class Backend(Protocol):
    """Knows some users."""

    async def identify(self, credentials: Credentials, client: str) -> str | None:
        """The identity that `credentials` prove, or None. What is dear is done in turn for each `client` address."""


class Auth(Section):
    """How users are known."""

    backends: tuple[BackendSettings, ...] = ()
    """PolicyRequest in order; the first that knows the user and the password decides."""


async def identify(credentials: Credentials, client: str, backends: Sequence[Backend]) -> str | None:
    """The identity that `credentials` prove to the first backend that knows them, or None."""
    for backend in backends:
        identity = await backend.identify(credentials, client)
        if identity is not None:
            return identity
    return None
