"""One supervised connection to NATS: the only place that dials it."""

import asyncio
import itertools
import json
import math
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Self

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from prometheus_client import Counter, Gauge

from jetpost.jetstream.errors import ErrorNumber, Unreachable, answer_of
from jetpost.jetstream.nats_client import NatsClient, refusal
from jetpost.jetstream.settings import Nats
from jetpost.reason import reason_of
from jetpost.telemetry.log import logger

CONNECTED = Gauge("jetpost_nats_connected", "1 while connected to NATS.")
RECONNECTS = Counter("jetpost_nats_reconnects_total", "Reconnections to NATS.")

_NO_RESPONDERS = "503"
_STREAM_INFO = b"stream_info_response"
_NO_LEADER_KNOWN = f'"err_code":{ErrorNumber.CLUSTER_NOT_AVAILABLE}'.encode()
_LEADER_S = 2.0
"""How long a question is asked again that was answered by a server that knows no leader."""
_ASK_AGAIN_S = 0.1
_DEAF_S = 5.0
"""How long requests may keep failing on a connection that stands."""
_FORGIVEN_S = 10.0
"""After this long without a failure the earlier ones count no more."""

log = logger(__name__)


def _is_stored(message: Msg) -> bool:
    """Whether it is a stored message, which may have any header, and no status of the server."""
    return "Nats-Sequence" in (message.headers or {})


def _knows_no_leader(data: bytes) -> bool:
    """Whether who answers says that the stream has no leader: an error, or facts about a stream that name none."""
    if _NO_LEADER_KNOWN in data[:500]:
        return True
    return _STREAM_INFO in data[:100] and b'"cluster":{' in data and b'"leader":"' not in data


@asynccontextmanager
async def connected(
    settings: Nats, name: str, waits_for: Callable[[str], None] = lambda _: None, patience_s: float | None = None
) -> AsyncIterator["JetStream"]:
    """A connection while the block runs, however long it takes to be made.

    With `patience_s`: Unreachable, with the reason, when it is not made within that time.
    """
    reason = f"no NATS server answers at {', '.join(settings.servers)}"

    def wait_for(why: str) -> None:
        nonlocal reason
        reason = why
        waits_for(why)

    async with AsyncExitStack() as opened:
        try:
            async with asyncio.timeout(patience_s):
                jetstream = await JetStream.connect(settings, name, wait_for)
                opened.push_async_callback(jetstream.close)
        except OSError as error:  # TimeoutError is one
            if patience_s is None:
                raise
            raise Unreachable(reason) from error
        yield jetstream


class JetStream:
    """A connection that is made again for ever. Questions fail with Unreachable, never hang."""

    def __init__(self, nc: NatsClient, settings: Nats, waits_for: Callable[[str], None] = lambda _: None) -> None:
        self.nc = nc
        self.settings = settings
        self._inbox = nc.new_inbox()
        self._questions = itertools.count()
        self._answers: dict[str, asyncio.Future[Msg | None]] = {}
        self._closing = False
        self._waits_for = waits_for
        self._reason = "not connected to NATS"
        self._failing_since = self._failed_last = -math.inf
        self.generation = 0
        """Grows at each reconnect: what was asked of an earlier connection will not be answered."""

    @classmethod
    async def connect(cls, settings: Nats, name: str, waits_for: Callable[[str], None] = lambda _: None) -> Self:
        """Connect, however long it takes; cancel to give up. `waits_for` is told why it is not connected yet."""
        self = cls(NatsClient(), settings, waits_for)
        try:
            await self.nc.connect(**self._options(name))
            await self.listen(f"{self._inbox}.*", self._hear_answer)
        except BaseException:
            self._closing = True
            self.nc.abandon()  # also when it is cancelled in the middle of a handshake
            if self.nc.is_connected:
                await self.nc.close()
            raise
        CONNECTED.set(1)
        return self

    def _options(self, name: str) -> dict[str, Any]:
        settings = self.settings
        return {
            "servers": list(settings.servers),
            "name": name,
            "tls": settings.tls_context(),
            "user": settings.user or None,
            "password": settings.password.get_secret_value() or None,
            "user_credentials": None if settings.credentials_file is None else str(settings.credentials_file),
            "max_reconnect_attempts": -1,
            "reconnect_time_wait": 0.25,
            "connect_timeout": 5,
            "ping_interval": 5,
            "max_outstanding_pings": 2,
            "pending_size": 16 * 1024 * 1024,
            "error_cb": self._on_error,
            "disconnected_cb": self._on_disconnect,
            "reconnected_cb": self._on_reconnect,
        }

    @property
    def connected(self) -> bool:
        """Whether the connection stands now."""
        return self.nc.is_connected

    def trouble(self) -> str | None:
        """Why NATS cannot be used, or None."""
        return None if self.connected else self._reason

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        headers: dict[str, str] | None = None,
        timeout_s: float | None = None,
        *,
        may_be_missing: bool = False,
    ) -> Msg:
        """Ask and wait for one answer. Unreachable when none comes within `timeout_s`.

        `may_be_missing`: who should answer need not exist on any server, so that nobody does says nothing of this one.
        """
        if not self.connected:
            raise Unreachable(self._reason)
        reply = f"{self._inbox}.{next(self._questions)}"
        answer: asyncio.Future[Msg | None] = asyncio.get_running_loop().create_future()
        self._answers[reply] = answer
        try:
            async with asyncio.timeout(timeout_s or self.settings.request_timeout_s):
                await self.nc.publish(subject, payload, reply, headers)
                self.nc.write_now()
                message = await answer
        except (NatsError, TimeoutError, OSError) as error:
            await self._try_another_server()
            raise Unreachable(f"no answer to {subject}: {reason_of(error)}") from error
        finally:
            del self._answers[reply]
        if message is None:
            raise Unreachable(f"no answer to {subject}: the connection broke")
        if message.headers is not None and message.headers.get("Status") == _NO_RESPONDERS and not _is_stored(message):
            if not may_be_missing:
                await self._try_another_server()
            raise Unreachable(f"no answer to {subject}: NATS has no responder")
        return message

    async def api(self, subject: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask the JetStream API `$JS.API.<subject>`. ApiError when it refuses, Unreachable when it does not answer."""
        payload = b"" if body is None else json.dumps(body).encode()
        begun = asyncio.get_running_loop().time()
        while True:
            message = await self.request(f"$JS.API.{subject}", payload)
            if not _knows_no_leader(message.data):
                return answer_of(message.data)
            # All servers are asked, and the first answer counts: one that has lost sight of the leader (its storage is
            # full, say) may be quicker than the leader. Where it is the one that we are connected to, it always is.
            if asyncio.get_running_loop().time() >= begun + _LEADER_S:
                await self._try_another_server(begun)
                return answer_of(message.data)
            await asyncio.sleep(_ASK_AGAIN_S)

    async def listen(self, subject: str, hear: Callable[[Msg], None]) -> None:
        """`hear` what is published to `subject`, now and after each reconnect. It must neither raise nor block."""
        await self.nc.hear(subject, hear)

    def _hear_answer(self, message: Msg) -> None:
        answer = self._answers.get(message.subject)
        if answer is not None and not answer.done():
            answer.set_result(message)

    async def tell(
        self, subject: str, payload: bytes = b"", headers: dict[str, str] | None = None, reply: str = ""
    ) -> bool:
        """Publish without waiting for an answer, which goes to `reply`. False when it certainly did not go out."""
        try:
            await self.nc.publish(subject, payload, reply, headers)
        except (NatsError, OSError):
            return False
        return True

    async def _try_another_server(self, begun: float | None = None) -> None:
        """Something (asked at `begun`) was not answered. When that goes on for a while, leave the server.

        One that is cut off from its cluster keeps its clients, answers what it can alone, and nothing else: so an
        answer now and then proves nothing, and only silence about failures ends a streak of them.
        """
        now = asyncio.get_running_loop().time()
        if now - self._failed_last > _FORGIVEN_S:
            self._failing_since = now if begun is None else begun
        self._failed_last = now
        if now - self._failing_since > _DEAF_S and len(self.settings.servers) > 1:
            self._failing_since = now
            log.warning("NATS does not answer, trying another server")
            await self.nc.force_reconnect()

    async def close(self) -> None:
        """Send what is buffered and close."""
        self._closing = True
        try:
            if self.connected:
                await asyncio.wait_for(self.nc.flush(), 2)
        except (NatsError, TimeoutError, OSError) as error:
            log.warning("cannot close the NATS connection cleanly", error=reason_of(error))
        await self.nc.close()
        CONNECTED.set(0)

    async def _on_error(self, error: Exception) -> None:
        why = refusal(error)
        if self.connected or self._closing:
            log.warning("NATS reports an error", error=why)
            return
        self._reason = f"cannot connect to NATS {self.nc.asked}: {why}"
        self._waits_for(self._reason)
        log.warning("cannot connect to NATS", server=self.nc.asked, error=why)

    async def _on_disconnect(self) -> None:
        if not self._closing:
            log.warning("disconnected from NATS")
        CONNECTED.set(0)
        for answer in self._answers.values():  # they went to that connection: nobody will be answered
            if not answer.done():
                answer.set_result(None)

    async def _on_reconnect(self) -> None:
        self.generation += 1
        self._reason = "not connected to NATS"
        log.warning("reconnected to NATS")
        RECONNECTS.inc()
        CONNECTED.set(1)
