"""The open connections of this process: how many there are, and how they end."""

import asyncio
from collections import Counter
from functools import lru_cache
from typing import Protocol

from prometheus_client import Counter as Count
from prometheus_client import Gauge

from ingress.listen.trim import trim
from ingress.listen.turns import Turns
from ingress.policy.limits import Limits
from ingress.policy.verdict import Refuse
from jetpost.mail.reply import EnhancedStatus, Reply

CONNECTIONS = Gauge("jetpost_ingress_connections", "Open connections, those that do not speak SMTP yet among them.")
HELD = Gauge(
    "jetpost_ingress_held_bytes", "Bytes that sessions hold in memory: commands, replies, envelopes, contents."
)
SESSIONS = Count(
    "jetpost_ingress_sessions_total", "Sessions begun. Labels: `listener` is its configured name.", ["listener"]
)

_sessions_of = lru_cache(SESSIONS.labels)

_BUSY = EnhancedStatus(4, 3, 2)
_TOO_MANY = Refuse(Reply(421, _BUSY, ("Too many connections, try again later",)), "connections")
_TOO_MANY_OF_YOURS = Refuse(
    Reply(421, EnhancedStatus(4, 7, 0), ("Too many connections from your address",)), "connections"
)
_NO_MEMORY = Refuse(Reply(421, _BUSY, ("Too much in memory, try again later",)), "memory")
_HANDSHAKES = 2
"""TLS handshakes that begin in one pass through the event loop."""
CLOSING = Reply(421, _BUSY, ("Closing, try again",))


class Connection(Protocol):
    """What can be told to end."""

    held_bytes: int
    """What it was last said to keep in memory."""
    heard_at: float
    """When its client last said something (the event loop's clock)."""

    @property
    def spare_bytes(self) -> int:
        """What is given back when it is rejected, and lost with nothing that its client cannot send again."""

    def wind_up(self) -> None:
        """End as soon as no transaction is in flight."""

    def hang_up(self, reply: Reply) -> None:
        """Say `reply` and end now."""

    def reject(self, refusal: Refuse) -> None:
        """End now, and count and log why; what was kept in memory for the client is given up."""


class Slot:
    """What one connection takes up, from its accept to its end."""

    def __init__(self, connections: "Connections", client: str) -> None:
        self.client = client
        """The client's IP address; empty until a load balancer has named it."""
        self._connections = connections

    def belongs_to(self, client: str) -> Refuse | None:
        """It is that client's, as is known now; or why it cannot be."""
        return self._connections.given(self, client)

    def leave(self) -> None:
        """The connection has ended. Nothing happens when it is said again."""
        self._connections.free(self)


class Connections:
    """Counts what is open, in all and for each client; knows what has a session."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._slots: set[Slot] = set()
        self._of_client: Counter[str] = Counter()
        self._sessions: set[Connection] = set()
        self._changed = asyncio.Event()
        self._held = 0
        self._much = limits.memory_bytes // 4
        self._was_much = False
        self._share = limits.memory_bytes // (2 * limits.connections)
        HELD.set_function(lambda: self._held)
        CONNECTIONS.set_function(lambda: len(self._slots))
        self.turns = Turns()
        """For sessions that have sent more than one turn allows."""
        self.handshakes = Turns(most=_HANDSHAKES)
        """For TLS handshakes, which take milliseconds each."""

    @property
    def sessions(self) -> int:
        """How many speak SMTP."""
        return len(self._sessions)

    def slot(self, client: str) -> Slot | Refuse:
        """A slot for a connection just accepted, or why there is none. With `client` empty it counts in all alone."""
        if len(self._slots) >= self._limits.connections:
            return _TOO_MANY
        slot = Slot(self, "")
        refusal = self.given(slot, client) if client else None
        if refusal is not None:
            return refusal
        self._slots.add(slot)
        return slot

    def given(self, slot: Slot, client: str) -> Refuse | None:
        """Count a slot that is nobody's yet as `client`'s, or say why not."""
        if self._of_client[client] >= self._limits.connections_per_client:
            return _TOO_MANY_OF_YOURS
        self._of_client[client] += 1
        slot.client = client
        return None

    def free(self, slot: Slot) -> None:
        """Count a slot no longer."""
        if slot not in self._slots:
            return
        self._slots.remove(slot)
        if slot.client:
            self._of_client[slot.client] -= 1
            if not self._of_client[slot.client]:
                del self._of_client[slot.client]

    def begin(self, connection: Connection, listener: str) -> None:
        """A session begins."""
        self._sessions.add(connection)
        _sessions_of(listener).inc()

    def end(self, connection: Connection) -> None:
        """It has ended, if it ever began."""
        self._sessions.discard(connection)
        self._changed.set()

    def hold(self, connection: Connection, held_bytes: int) -> None:
        """`connection` keeps so much in memory. When it is too much in all, others end, or it does itself."""
        self._held += held_bytes - connection.held_bytes
        connection.held_bytes = held_bytes
        if self._held > self._much:
            self._was_much = True
        elif self._was_much and self._held < self._much // 4:
            self._was_much = False
            asyncio.get_running_loop().run_in_executor(None, trim)
        while self._held > self._limits.memory_bytes:
            candidates = [each for each in self._sessions if each.spare_bytes > self._share]
            if not candidates:
                return
            longest_silent = min(candidates, key=lambda each: each.heard_at)
            spare = longest_silent.spare_bytes
            longest_silent.reject(_NO_MEMORY)
            self._held -= spare
            longest_silent.held_bytes -= spare

    async def drain(self, timeout_s: float) -> int:
        """Let transactions in flight end, then end what is left; how many those were."""
        for connection in list(self._sessions):
            connection.wind_up()
        try:
            async with asyncio.timeout(timeout_s):
                await self._all_gone()
        except TimeoutError:
            pass
        left = list(self._sessions)
        for connection in left:
            connection.hang_up(CLOSING)
        return len(left)

    async def _all_gone(self) -> None:
        while self._sessions:
            self._changed.clear()
            await self._changed.wait()
