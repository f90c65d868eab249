"""The open connections of this process: how many there are, and how they end."""

import asyncio
from collections import Counter
from typing import Protocol

from prometheus_client import Counter as Count
from prometheus_client import Gauge

from ingress.policy.limits import Limits
from jetpost.mail.reply import EnhancedStatus, Reply

CONNECTIONS = Gauge("jetpost_ingress_connections", "Open connections.")
SESSIONS = Count(
    "jetpost_ingress_sessions_total", "Sessions begun. Labels: `listener` is its configured name.", ["listener"]
)

_TOO_MANY = Reply(421, EnhancedStatus(4, 3, 2), ("Too many connections, try again later",))
_TOO_MANY_OF_YOURS = Reply(421, EnhancedStatus(4, 7, 0), ("Too many connections from your address",))
CLOSING = Reply(421, EnhancedStatus(4, 3, 2), ("Closing, try again",))


class Connection(Protocol):
    """What can be told to end."""

    def wind_up(self) -> None:
        """End as soon as no transaction is in flight."""

    def hang_up(self, reply: Reply) -> None:
        """Say `reply` and end now."""


class Connections:
    """Counts what is open, in all and for each client."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._open: dict[Connection, str] = {}
        self._of_client: Counter[str] = Counter()
        self._changed = asyncio.Event()

    @property
    def count(self) -> int:
        """How many are open."""
        return len(self._open)

    def admit(self, connection: Connection, client: str, listener: str) -> Reply | None:
        """Count `connection` in, or say why not."""
        if len(self._open) >= self._limits.connections:
            return _TOO_MANY
        if self._of_client[client] >= self._limits.connections_per_client:
            return _TOO_MANY_OF_YOURS
        self._open[connection] = client
        self._of_client[client] += 1
        CONNECTIONS.inc()
        SESSIONS.labels(listener).inc()
        return None

    def leave(self, connection: Connection) -> None:
        """`connection` has ended, whether it was admitted or not."""
        client = self._open.pop(connection, None)
        if client is None:
            return
        CONNECTIONS.dec()
        self._of_client[client] -= 1
        if not self._of_client[client]:
            del self._of_client[client]
        self._changed.set()

    async def drain(self, patience_s: float) -> int:
        """Let transactions in flight end, then end what is left; how many those were."""
        for connection in list(self._open):
            connection.wind_up()
        try:
            async with asyncio.timeout(patience_s):
                await self._all_gone()
        except TimeoutError:
            pass
        left = list(self._open)
        for connection in left:
            connection.hang_up(CLOSING)
        return len(left)

    async def _all_gone(self) -> None:
        while self._open:
            self._changed.clear()
            await self._changed.wait()
