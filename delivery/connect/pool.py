"""Connections kept for the next message, and a bound on all of them together."""

import asyncio
import math
from collections import deque
from functools import partial

from prometheus_client import Counter

from delivery.connect.auth.logins import Logins
from delivery.connect.connection import Connection
from delivery.connect.opening import OutOfFiles, TlsFailure, opened
from delivery.connect.settings import ConnectSettings
from delivery.route.endpoint import ConnectionTerms, Endpoint
from delivery.security.contexts import stamps
from delivery.security.failures import Failures
from delivery.security.requirement import TlsMode
from delivery.security.sessions import Sessions
from jetpost.reason import reason_of
from jetpost.tasks import end
from jetpost.telemetry.log import logger

REUSED = Counter("jetpost_delivery_connections_reused_total", "Transactions on a reused connection.")
OUT_OF_FILES = Counter(
    "jetpost_delivery_out_of_files_total", "Connections not opened because no file descriptor was free."
)
TLS_FAILURES = Counter(
    "jetpost_delivery_tls_failures_total",
    "Connections on which TLS failed. Labels: `at` is starttls, handshake or ehlo (the first command inside).",
    ["at"],
)
DROPPED = Counter(
    "jetpost_delivery_idle_connections_dropped_total", "Idle connections that ended because the host spoke or left."
)

_REMEMBERED = 10_000
_SESSIONS = 1_000
_USUAL = ConnectionTerms()
_PAUSE_S = 1.0

log = logger(__name__)


class Pool:
    """The connections of a process: at most `most` in use, which callers keep to; idle ones make way for them."""

    def __init__(self, settings: ConnectSettings, hostname: str, most: int) -> None:
        self.settings = settings
        self._hostname = hostname
        self._most = most
        self._used = 0
        self._idle: dict[Endpoint, deque[Connection]] = {}
        self._timers: dict[Connection, tuple[Endpoint, asyncio.TimerHandle]] = {}
        """Of each idle connection, the one that is idle longest first."""
        self._closing: dict[asyncio.Task[None], Connection] = {}
        self._most_closing = max(most // 10, 10)
        self._distrusted: dict[Endpoint, set[str]] = {}
        """Extensions that an endpoint offers and has not kept to."""
        self._without_tls = Failures(settings.tls_retry_s, _REMEMBERED)
        self._sessions = Sessions(_SESSIONS)
        self._logins = Logins(settings.auth_retry_s, settings.timeouts.token_s)

    @property
    def idle(self) -> int:
        """Connections that are kept for the next message."""
        return len(self._timers)

    async def connection(self, endpoint: Endpoint, *, until: float, fresh: bool = False) -> Connection:
        """A connection that is ready for MAIL: a kept one unless `fresh`. To be given back by `keep` or `drop`.

        It waits for nothing longer than `until`, on the loop's clock.
        Refusal when the host cannot be used; OutOfFiles when none can be opened for want of a file descriptor.
        """
        while not fresh and (kept := self._idle.get(endpoint)):
            connection = kept[-1]
            self._forget(connection)
            if connection.usable and connection.is_secure and connection.tls_files != stamps(*endpoint.terms.tls_files):
                self._close(connection)  # its CAs or our certificate have changed
                continue
            if connection.usable:
                REUSED.inc()
                connection.until = until
                self._used += 1
                return self._as_trusted(connection, endpoint)
            connection.abort()
        self._used += 1
        try:
            connection = await self._opened(endpoint, until)
        except BaseException:
            self._used -= 1
            raise
        return self._as_trusted(connection, endpoint)

    async def _opened(self, endpoint: Endpoint, until: float) -> Connection:
        """A new connection. Waits a while for a file descriptor: attempts end, and give theirs back."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self.settings.timeouts.connect_s
        while self._used + len(self._timers) > self._most and self._make_way():
            continue
        while True:
            try:
                return await self._open(endpoint, until)
            except OutOfFiles as error:
                OUT_OF_FILES.inc()
                self._make_way()
                if loop.time() > give_up:
                    raise
                log.warning("no file descriptor for a connection", host=endpoint.host, error=reason_of(error))
            await asyncio.sleep(_PAUSE_S)

    async def _open(self, endpoint: Endpoint, until: float) -> Connection:
        login = endpoint.terms.login
        if login is None:
            return await self._dial(endpoint, until)
        known = self._logins.insist(login)
        try:
            await self._logins.prepare(login, until)
            connection = await self._dial(endpoint, until)
        except BaseException:
            self._logins.not_tried(known)
            raise
        try:
            await self._logins.authenticate(connection, login, self.settings.timeouts.auth_s, known=known)
        except BaseException:
            connection.abort()
            raise
        return connection

    async def _dial(self, endpoint: Endpoint, until: float) -> Connection:
        opportunistic = endpoint.terms.tls is TlsMode.OPPORTUNISTIC
        loop = asyncio.get_running_loop()
        plain = opportunistic and self._without_tls.has(endpoint, loop.time())
        if not plain and (session := self._sessions.get(endpoint)) is not None:
            try:
                return await opened(endpoint, self._hostname, self.settings, until=until, session=session)
            except TlsFailure:  # it may be the session that the host does not like
                self._sessions.forget(endpoint)
        try:
            return await opened(endpoint, self._hostname, self.settings, until=until, plain=plain)
        except TlsFailure as failure:
            if loop.time() >= until:  # the attempt has had its time: that says nothing about the host
                raise
            TLS_FAILURES.labels(failure.at).inc()
            log.warning(
                "TLS failed", host=endpoint.host, address=endpoint.address, at=failure.at, why=reason_of(failure)
            )
            if not opportunistic:
                raise
        # The connection is spoilt, the host may be fine without TLS.
        self._without_tls.add(endpoint, loop.time())
        return await opened(endpoint, self._hostname, self.settings, until=until, plain=True)

    def distrust(self, endpoint: Endpoint, extension: str) -> None:
        """The host offers `extension`, and failed where it was used: do without it from the next connection on."""
        self._distrusted.setdefault(endpoint, set()).add(extension)
        if len(self._distrusted) > _REMEMBERED:
            del self._distrusted[next(iter(self._distrusted))]

    def _as_trusted(self, connection: Connection, endpoint: Endpoint) -> Connection:
        """The same, without what the host does not keep to."""
        for extension in self._distrusted.get(endpoint, ()):
            connection.extensions.pop(extension, None)
        return connection

    def keep(self, connection: Connection, endpoint: Endpoint) -> None:
        """Keep a connection for the next message, or close it when it has had its share."""
        self._used -= 1
        if connection.transactions == 1 and _may_resume(endpoint):
            self._sessions.keep(endpoint, connection.over_tls)
        settings = self.settings
        most = min(settings.messages_per_connection, connection.limits.transactions)
        if not connection.usable or connection.transactions >= most or not settings.idle_s:
            self._close(connection)
            return
        connection.until = math.inf
        timer = asyncio.get_running_loop().call_later(settings.idle_s, self._expire, connection)
        self._idle.setdefault(endpoint, deque()).append(connection)
        self._timers[connection] = endpoint, timer
        connection.rest(partial(self._drop_idle, connection))

    def drop(self, connection: Connection) -> None:
        """Break off a connection that is of no use any more."""
        self._used -= 1
        connection.abort()

    async def aclose(self) -> None:
        """Close every idle connection, and what gets access tokens."""
        await self._logins.aclose()
        while self._timers:
            self._expire(next(iter(self._timers)))
        if self._closing:
            _, late = await asyncio.wait(list(self._closing), timeout=self.settings.timeouts.quit_s)
            await end(late)

    def _make_way(self) -> bool:
        """Close the connection that is idle longest; False when none is."""
        if not self._timers:
            return False
        self._expire(next(iter(self._timers)))
        return True

    def _expire(self, connection: Connection) -> None:
        self._forget(connection)
        self._close(connection)

    def _drop_idle(self, connection: Connection) -> None:
        """The host has spoken, or left."""
        DROPPED.inc()
        self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        """It is idle no more."""
        endpoint, timer = self._timers.pop(connection)
        timer.cancel()
        connection.wake()
        self._idle[endpoint].remove(connection)
        if not self._idle[endpoint]:
            del self._idle[endpoint]

    def _close(self, connection: Connection) -> None:
        """Say goodbye. Only so many hosts have the time to answer."""
        task = asyncio.create_task(connection.quit(self.settings.timeouts.quit_s))
        self._closing[task] = connection
        task.add_done_callback(lambda done: self._closing.pop(done, None))
        if len(self._closing) > self._most_closing:
            self._closing.pop(next(iter(self._closing))).abort()


def _may_resume(endpoint: Endpoint) -> bool:
    """Whether its connections ask nothing of TLS: nothing but the source address differs from the usual terms."""
    return endpoint.terms._replace(source="") == _USUAL
