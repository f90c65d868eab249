"""The end of a claim, confirmed: an ack that a nats-server did not hear is replaced by deleting the entry.

A plain ack is lost when the consumer's leader changes, or when the server is cut off from its cluster. The entry would
come back after `ack_wait`, to this process (which remembers) or, once this one has gone, to another that would attempt
it a second time. So the server is asked to answer each ack, which it does once its cluster has it too.

A lone server whose disk is full confirms acks all the same, and forgets them when it is restarted. So its confirmations
are believed once a later look finds that it can write; otherwise the entries are deleted after its restart.
"""

import asyncio
from collections import deque
from typing import NamedTuple

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from prometheus_client import Counter

from jetpost.jetstream.connection import JetStream
from jetpost.jetstream.errors import ApiError, Unreachable
from jetpost.queue.storage.shard import Shard
from jetpost.reason import reason_of
from jetpost.telemetry.log import logger

UNCONFIRMED = Counter(
    "jetpost_queue_acks_unconfirmed_total",
    "Settled entries deleted because no nats-server confirmed the ack.",
)

_CONFIRM_S = 1.0
"""How long an ack may be on its way before the entry is deleted. Confirmations take milliseconds."""
_LOOK_S = 0.25
_AT_ONCE = 50
_CLOSE_S = 5.0
_LONGEST_PAUSE_S = 5.0
_MOST_RECENT = 20_000

log = logger(__name__)


class Open(NamedTuple):
    """An ack that was sent and not confirmed."""

    shard: Shard
    sequence: int
    ended: str
    """The key, when nothing follows the entry; otherwise empty."""
    sent: float
    """On the loop's clock."""
    confirmed: asyncio.Future[None]


class Acks:
    """The acks of one process. There are never more open ones than it had claims."""

    def __init__(self, jetstream: JetStream, *, is_lone: bool = False) -> None:
        """`is_lone`: whether the server keeps the queue alone."""
        self._jetstream = jetstream
        self._inbox = jetstream.nc.new_inbox()
        self._open: dict[str, Open] = {}
        self._recent: deque[Open] = deque(maxlen=_MOST_RECENT if is_lone else 0)
        """Confirmed since the last look at the servers that found no error."""
        self._distrusted = False
        self._generation = jetstream.generation
        self._answering = asyncio.Event()
        """Not set while an ack is late, and nobody answers to its deletion either."""
        self._answering.set()

    async def listen(self) -> None:
        """Hear confirmations, from now on and on each connection to come."""
        await self._jetstream.listen(f"{self._inbox}.*", self._hear)

    async def ack(self, shard: Shard, sequence: int, acknowledge_to: str, *, ended: str = "") -> asyncio.Future[None]:
        """Send one; what is returned is done when the entry is gone for good. Waits for nothing.

        `ended`: its key, when nothing follows it. Until the entry is deleted it may have been claimed by another
        process, and what that one let follow goes with it.
        """
        loop = asyncio.get_running_loop()
        name = f"{shard.number}-{sequence}"
        ack = self._open[name] = Open(shard, sequence, ended, loop.time(), loop.create_future())
        await self._jetstream.tell(acknowledge_to, b"+ACK", reply=f"{self._inbox}.{name}")
        return ack.confirmed

    async def answered(self) -> bool:
        """Wait while no server answers. Whether there was none to wait for.

        What is attempted meanwhile cannot be recorded: were this process killed then, all of it would be done again.
        """
        if self._answering.is_set():
            return True
        await self._answering.wait()
        return False

    def looked(self, begun: float, *, can_write: bool) -> None:
        """Whether the servers could write when they were asked at `begun`, on the loop's clock."""
        if not can_write:
            self._distrusted = True
        elif self._distrusted:
            self._reopen_recent()
        else:
            while self._recent and self._recent[0].sent < begun:
                self._recent.popleft()

    async def watch(self) -> None:
        """Delete the entries whose acks are not confirmed in time, for ever; less often while that fails."""
        pause_s = _LOOK_S
        while True:
            await asyncio.sleep(pause_s)
            if self._generation != self._jetstream.generation:
                self._generation = self._jetstream.generation
                if self._distrusted:
                    self._reopen_recent()
            late = asyncio.get_running_loop().time() - _CONFIRM_S
            names = [name for name, ack in self._open.items() if ack.sent < late][:_AT_ONCE]
            if names:
                self._answering.clear()
            if not names or await self._end_by_deleting(names):
                pause_s = _LOOK_S if len(names) < _AT_ONCE else 0
            else:
                pause_s = min(max(pause_s, _LOOK_S) * 2, _LONGEST_PAUSE_S)

    def _reopen_recent(self) -> None:
        """The server was restarted after it could not write: it has forgotten what it confirmed meanwhile."""
        self._distrusted = False
        log.warning("acks of a server that could not write: deleting their entries", entries=len(self._recent))
        for ack in self._recent:
            self._open.setdefault(f"{ack.shard.number}-{ack.sequence}", ack._replace(sent=0.0))
        self._recent.clear()

    async def close(self) -> None:
        """Wait, not for ever, until everything is confirmed or deleted."""
        if not self._open:
            return
        await asyncio.wait([ack.confirmed for ack in self._open.values()], timeout=_CLOSE_S)
        if self._open:
            log.warning("acks not confirmed; possible redelivery", entries=len(self._open))

    def _hear(self, message: Msg) -> None:
        if message.headers:
            return  # 503: nobody leads the consumer just now; the entry will be deleted
        if (ack := self._end(message.subject.rpartition(".")[2])) is not None:
            self._recent.append(ack._replace(sent=asyncio.get_running_loop().time()))

    async def _end_by_deleting(self, names: list[str]) -> bool:
        """Whether any of them is, now."""
        if not self._jetstream.connected:
            return True  # that ends by itself, and is then to be seen at once
        return any(await asyncio.gather(*(self._delete(name) for name in names)))

    async def _delete(self, name: str) -> bool:
        if (ack := self._open.get(name)) is None:
            return True
        try:
            await ack.shard.delete(ack.sequence)
            if ack.ended:
                await ack.shard.forget(ack.ended)
        except (Unreachable, ApiError, NatsError, OSError) as error:
            if isinstance(error, ApiError):
                self._answering.set()
            log.debug("cannot delete entry, will retry", error=reason_of(error))  # the next look tries again
            return False
        if self._end(name) is not None:
            UNCONFIRMED.inc()
        return True

    def _end(self, name: str) -> Open | None:
        ack = self._open.pop(name, None)
        self._answering.set()
        if ack is not None and not ack.confirmed.done():
            ack.confirmed.set_result(None)
        return ack
