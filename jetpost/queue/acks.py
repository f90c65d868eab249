"""The end of a claim, confirmed: an ack that a nats-server did not hear is made good by deleting the entry.

A plain ack is lost when the consumer's leader changes, or when the server is cut off from its cluster. The entry would
come back after `ack_wait`, to this process (which remembers) or, once this one has gone, to another that would attempt
it a second time. So the server is asked to answer each ack, which it does once its cluster has it too.
"""

import asyncio
from typing import NamedTuple

import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from prometheus_client import Counter

from jetpost.jetstream import ApiError, JetStream, Unreachable
from jetpost.queue.shard import Shard

UNCONFIRMED = Counter(
    "jetpost_queue_acks_unconfirmed_total",
    "Finished entries that were deleted, since no nats-server confirmed the ack.",
)

_CONFIRM_S = 1.0
"""How long an ack may be on its way before the entry is deleted. Confirmations take milliseconds."""
_LOOK_S = 0.25
_AT_ONCE = 50
_CLOSE_S = 5.0

log = structlog.get_logger(__name__)


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

    def __init__(self, jetstream: JetStream) -> None:
        self._jetstream = jetstream
        self._inbox = jetstream.nc.new_inbox()
        self._open: dict[str, Open] = {}

    async def listen(self) -> None:
        """Hear confirmations, from now on and on each connection to come."""
        await self._jetstream.listen(f"{self._inbox}.*", self._hear)

    async def ack(self, shard: Shard, sequence: int, acknowledge_to: str, *, ended: str = "") -> asyncio.Future[None]:
        """Send one; what is returned is done when the entry is gone for good. Waits for nothing.

        `ended`: its key, when nothing follows it. Until the ack is made good the entry may have got into another hand,
        and what that one let follow goes with it.
        """
        loop = asyncio.get_running_loop()
        name = f"{shard.number}-{sequence}"
        ack = self._open[name] = Open(shard, sequence, ended, loop.time(), loop.create_future())
        await self._jetstream.tell(acknowledge_to, b"+ACK", reply=f"{self._inbox}.{name}")
        return ack.confirmed

    async def watch(self) -> None:
        """Make good what is not confirmed in time, for ever."""
        while True:
            await asyncio.sleep(_LOOK_S)
            late = asyncio.get_running_loop().time() - _CONFIRM_S
            await self._make_good([name for name, ack in self._open.items() if ack.sent < late][:_AT_ONCE])

    async def close(self) -> None:
        """Wait, not for ever, until everything is confirmed or made good."""
        if not self._open:
            return
        await asyncio.wait([ack.confirmed for ack in self._open.values()], timeout=_CLOSE_S)
        if self._open:
            log.warning("acks are not confirmed: these entries may be attempted again", entries=len(self._open))

    def _hear(self, message: Msg) -> None:
        if message.headers:
            return  # 503: nobody leads the consumer just now; it will be made good
        self._end(message.subject.rpartition(".")[2])

    async def _make_good(self, names: list[str]) -> None:
        if self._jetstream.connected:
            await asyncio.gather(*(self._delete(name) for name in names))

    async def _delete(self, name: str) -> None:
        if (ack := self._open.get(name)) is None:
            return
        try:
            await ack.shard.delete(ack.sequence)
            if ack.ended:
                await ack.shard.forget(ack.ended)
        except (Unreachable, ApiError, NatsError, OSError) as error:
            log.debug("an entry is not deleted yet", error=str(error))  # the next look tries again
            return
        if self._end(name):
            UNCONFIRMED.inc()

    def _end(self, name: str) -> bool:
        ack = self._open.pop(name, None)
        if ack is None:
            return False
        if not ack.confirmed.done():
            ack.confirmed.set_result(None)
        return True
