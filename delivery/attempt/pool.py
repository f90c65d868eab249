"""Connections kept for the next message."""

import asyncio
from collections import deque

from prometheus_client import Counter

from delivery.attempt.classify import Phase
from delivery.attempt.config import AttemptSettings
from delivery.attempt.connection import Connection
from delivery.attempt.opening import Refusal, opened
from delivery.route.mx import MxHost
from delivery.security.requirement import TlsMode
from jetpost.tasks import end

REUSED = Counter("jetpost_delivery_connections_reused_total", "Transactions begun on a connection that stood already.")

_REMEMBERED = 10_000

Place = tuple[str, str, int]
"""Name, address and port: the name counts, since TLS was asked for under it."""


class Pool:
    """Idle connections by host and address. One for a process."""

    def __init__(self, settings: AttemptSettings, hostname: str) -> None:
        self.settings = settings
        self._hostname = hostname
        self._idle: dict[Place, deque[tuple[Connection, asyncio.TimerHandle]]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._distrusted: dict[Place, None] = {}

    async def connection(self, host: MxHost, address: str, *, fresh: bool = False) -> Connection:
        """A connection that is ready for MAIL: a kept one unless `fresh`. Refusal when the host cannot be used."""
        place = (host.name, address, host.port)
        while not fresh and (kept := self._idle.get(place)):
            connection, timer = kept.pop()
            timer.cancel()
            if not kept:
                del self._idle[place]
            if connection.usable:
                REUSED.inc()
                return connection
            connection.abort()
        connection = await self._open(host, address)
        if place in self._distrusted:
            connection.extensions.pop("PIPELINING", None)
        return connection

    async def _open(self, host: MxHost, address: str) -> Connection:
        try:
            return await opened(host, address, self._hostname, self.settings)
        except Refusal as refusal:
            if refusal.phase is not Phase.STARTTLS or self.settings.tls is not TlsMode.OPPORTUNISTIC:
                raise
        # The connection is spoilt, the host may be fine without TLS.
        return await opened(host, address, self._hostname, self.settings, plain=True)

    def distrust(self, host: MxHost, address: str) -> None:
        """The host offers PIPELINING, but fell silent in the middle of a group: send it one command at a time."""
        self._distrusted[host.name, address, host.port] = None
        if len(self._distrusted) > _REMEMBERED:
            del self._distrusted[next(iter(self._distrusted))]

    def keep(self, connection: Connection, host: MxHost, address: str) -> None:
        """Keep a connection for the next message, or close it when it has had its share."""
        settings = self.settings
        if not connection.usable or connection.transactions >= settings.messages_per_connection or not settings.idle_s:
            self._close(connection)
            return
        place = (host.name, address, host.port)
        timer = asyncio.get_running_loop().call_later(settings.idle_s, self._expire, place, connection)
        self._idle.setdefault(place, deque()).append((connection, timer))

    async def aclose(self) -> None:
        """Close every idle connection."""
        for kept in self._idle.values():
            for connection, timer in kept:
                timer.cancel()
                self._close(connection)
        self._idle.clear()
        if self._closing:
            _, late = await asyncio.wait(self._closing, timeout=self.settings.timeouts.quit_s)
            await end(late)

    def _expire(self, place: Place, connection: Connection) -> None:
        kept = self._idle[place]
        self._idle[place] = deque(one for one in kept if one[0] is not connection)
        if not self._idle[place]:
            del self._idle[place]
        self._close(connection)

    def _close(self, connection: Connection) -> None:
        task = asyncio.create_task(connection.quit(self.settings.timeouts.quit_s))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
