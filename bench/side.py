"""What is compared: a mail system, started fresh for each measurement."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, Protocol


class Phase(StrEnum):
    """What is measured."""

    ACCEPTANCE = "acceptance"
    """From the first connection to the last 250; nothing is delivered."""
    RELAY = "relay"
    """From the first connection until the last message has arrived at the destination."""


class Way(StrEnum):
    """How a relay sends."""

    PLAIN = "plain"
    """To the MX, in clear."""
    DKIM = "dkim"
    """The same, with a signature by a key of RSA-2048."""
    TLS = "tls"
    """To a host by its name, whose certificate is verified."""
    AUTH = "auth"
    """The same, after AUTH."""


class Destination(Protocol):
    """Where a system sends what is for dest.test."""

    host: str
    port: int
    way: Way
    received: int
    """Messages whose final dot was answered with 250."""
    wrong: int
    """Those of them that did not come the way they should."""

    ca_file: Path
    """The CA of its certificate, which is for `bench.destination.NAME`."""

    async def wait_for(self, count: int) -> None:
        """Return as soon as `count` messages have arrived. TimeoutError: they do not come."""
        ...


class System(Protocol):
    """A mail system that runs."""

    @property
    def host(self) -> str:
        """Where it accepts mail."""
        ...

    @property
    def port(self) -> int:
        """Where it accepts mail."""
        ...

    def processes(self) -> dict[int, str]:
        """Its processes now: pid → kind."""
        ...

    async def queued(self) -> int:
        """Messages that lie in its queue now."""
        ...


class Side(NamedTuple):
    """One of the two columns."""

    name: str
    run: Callable[[Path, Phase, Destination], AbstractAsyncContextManager[System]]
    """Runs the system in a folder while the block runs; whatever is for dest.test goes to the destination, its way."""
