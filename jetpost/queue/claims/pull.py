"""The open pull request of a consumer on one shard, supervised.

At any moment at most one is open; when the server goes away, the consumer is deleted or the pull falls silent, it is
asked again (and the consumer made again).
"""

import asyncio
import contextlib
import json
from typing import Any, Protocol

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from prometheus_client import Counter

from jetpost.jetstream.connection import JetStream
from jetpost.jetstream.errors import ApiError, Unreachable
from jetpost.queue.storage.shard import Shard
from jetpost.reason import reason_of
from jetpost.telemetry.log import logger

PULLS_RESTARTED = Counter(
    "jetpost_queue_pulls_restarted_total", "Pull requests restarted because the server did not answer."
)

_PULL_S = 2
"""How long an open request lasts at most; whoever leaves waits for its end."""
_PULLS_OF_ACK_WAIT = 4
"""A request lasts at most such a part of `ack_wait`: what it brings is taken for as old as the request."""
_SILENCE_S = 6
"""After so long without a sign the server has forgotten the request."""
LAST_ANSWER_S = _PULL_S + 2.0
"""After so long nothing comes to a request that was open."""
_MOST_A_PULL = 256
ORDINARY_HEADER_BYTES = 64 * 1024
"""More than nats-server takes of headers."""
_TOO_MUCH = "Exceeds MaxBytes"
_COMPLETED = "Batch Completed"

log = logger(__name__)


class PullHandler(Protocol):
    """For whom is pulled."""

    @property
    def name(self) -> str:
        """The durable consumer's name."""

    def room(self) -> int:
        """How many more entries are welcome."""

    def room_bytes(self) -> int:
        """Bytes that are welcome in one pull."""

    def configuration(self, shard: Shard) -> dict[str, Any]:
        """The durable consumer's configuration."""

    async def take(self, shard: Shard, message: Msg, suspect: int, asked: float) -> None:
        """One entry from the server; `suspect`: the stream's last sequence when this pull began.

        `asked`: when it was asked for, on the loop's clock; the server has sent it later.
        """

    def look_quiet(self) -> None:
        """A pull ended."""


class Pull:
    """The open pull request of one consumer on one shard.

    An entry of up to `ordinary_bytes` is always asked for; a larger one, when it is next, alone.
    """

    def __init__(self, consumer: PullHandler, shard: Shard, ordinary_bytes: int, ack_wait_s: float) -> None:
        self._consumer = consumer
        self._shard = shard
        self._jetstream: JetStream = shard.jetstream
        self._ordinary_bytes = ordinary_bytes
        self._pull_s = min(_PULL_S, ack_wait_s / _PULLS_OF_ACK_WAIT)
        self._next_is_large = False
        self._wanted = 0
        self._heard = self._asked = 0.0
        self._generation = -1
        self._suspect = 0
        self._inbox = ""
        self._subscription: Subscription | None = None
        self._came = 0
        self._wake = asyncio.Event()
        self._gone = False
        self._leaving = False
        self.found_nothing = False

    def leave(self) -> None:
        """Ask for nothing more; `run` returns when the open request has ended.

        Not before: what the server sends to an inbox that is not there any more waits for `ack_wait` (in a cluster it
        goes on sending for a while).
        """
        self._leaving = True
        self._wake.set()

    def stay(self) -> None:
        """`run` may begin again."""
        self._leaving = self.found_nothing = False

    def room_changed(self) -> None:
        """A claim ended: maybe more are welcome."""
        if self._wanted == 0:
            self._wake.set()

    async def run(self) -> None:
        """Keep one pull open whenever there is room, until told to leave."""
        try:
            while not self._leaving or self._is_open():
                try:
                    if self._subscription is None or self._gone or self._generation != self._jetstream.generation:
                        await self._begin()
                    await self._pull_once()
                except (Unreachable, ApiError, NatsError, OSError) as error:
                    log.warning("cannot fetch from NATS", consumer=self._consumer.name, error=reason_of(error))
                    self._gone = True
                    await asyncio.sleep(0.5)
        finally:
            await self._unsubscribe()

    def _is_open(self) -> bool:
        return self._wanted > 0 and not self._gone and self._generation == self._jetstream.generation

    async def _begin(self) -> None:
        """(Re-)make the durable consumer and the inbox."""
        if self._subscription is not None:
            PULLS_RESTARTED.inc()
            await self._unsubscribe()
        generation = self._jetstream.generation
        shard, name = self._shard, self._consumer.name
        configuration = self._consumer.configuration(shard)
        await self._jetstream.api(
            f"CONSUMER.CREATE.{shard.stream}.{name}.{configuration['filter_subject']}",
            {"stream_name": shard.stream, "config": configuration, "action": ""},
        )
        info = await self._jetstream.api(f"STREAM.INFO.{shard.stream}")
        self._suspect = int(info["state"]["last_seq"])
        self._inbox = self._jetstream.nc.new_inbox()
        self._subscription = await self._jetstream.nc.subscribe(self._inbox, cb=self._on_message)
        self._generation, self._gone, self._wanted = generation, False, 0

    async def _unsubscribe(self) -> None:
        """Forget the inbox. It may be gone already: with the connection, or by an earlier try."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            with contextlib.suppress(NatsError, OSError):
                await subscription.unsubscribe()

    async def _pull_once(self) -> None:
        """Ask for as much as there is room for, or wait until there is; look after an open pull."""
        loop = asyncio.get_running_loop()
        if self._wanted == 0 and (room := self._consumer.room()) > 0:
            self._wanted = 1 if self._next_is_large else min(room, _MOST_A_PULL)
            self._heard = self._asked = loop.time()
            request = {
                "batch": self._wanted,
                "expires": int(self._pull_s * 1e9),
                "idle_heartbeat": int(self._pull_s / 2 * 1e9),
            }
            if not self._next_is_large:
                request["max_bytes"] = max(self._consumer.room_bytes(), self._ordinary_bytes)
            self._came = 0
            await self._jetstream.nc.publish(
                f"$JS.API.CONSUMER.MSG.NEXT.{self._shard.stream}.{self._consumer.name}",
                json.dumps(request).encode(),
                reply=self._inbox,
            )
        self._wake.clear()
        try:
            async with asyncio.timeout(1):
                await self._wake.wait()
        except TimeoutError:
            if self._wanted and loop.time() - self._heard > _SILENCE_S:
                raise Unreachable(f"no message from NATS for {_SILENCE_S} s") from None

    async def _on_message(self, message: Msg) -> None:
        self._heard = asyncio.get_running_loop().time()
        status = (message.headers or {}).get("Status")
        if status is None or message.reply.startswith("$JS.ACK"):
            self.found_nothing = self._next_is_large = False
            self._came += 1
            await self._take(message)
            # Only now: the request is open until its last entry is claimed by somebody.
            self._wanted = max(self._wanted - 1, 0)
            if self._wanted == 0:
                self._wake.set()
            return
        if status == "100" or _COMPLETED in str(message.headers):
            return  # a sign of life; or the end of a request that was counted to its end, and the next one is open
        # 404/408: the pull ended. 409: consumer deleted, leadership changed, … 503: nobody there.
        self.found_nothing = status in {"404", "408"}
        too_much = _TOO_MUCH in str(message.headers)
        self._next_is_large = too_much and self._came == 0
        self._gone = not (self.found_nothing or too_much or "Exceeded" in str(message.headers))
        self._wanted = 0
        self._wake.set()
        self._consumer.look_quiet()

    async def _take(self, message: Msg) -> None:
        try:
            await self._consumer.take(self._shard, message, self._suspect, self._asked)
        except (Unreachable, ApiError, NatsError, OSError) as error:
            # It comes again after ack_wait.
            log.warning("cannot claim entry", subject=message.subject, error=reason_of(error))
        except Exception:  # a bug costs this entry its turn, and nobody else theirs
            log.exception("cannot claim entry", subject=message.subject)
