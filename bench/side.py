"""What is compared: a mail system, started fresh for each measurement."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, Protocol

from bench.load import Sink


class Phase(StrEnum):
    """What is measured."""

    ACCEPTANCE = "acceptance"
    """From the first connection to the last 250; nothing is delivered."""
    RELAY = "relay"
    """From the first connection until the last message has arrived at the destination."""


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
    run: Callable[[Path, Phase, Sink], AbstractAsyncContextManager[System]]
    """Runs the system in a folder while the block runs; whatever is for dest.test goes to the sink."""
