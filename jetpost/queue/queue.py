"""The queue as the services see it: enqueue, consume, settle, NAK."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple, Self

from jetpost.jetstream.connection import JetStream
from jetpost.jetstream.errors import ApiError, Unreachable
from jetpost.queue.claims.claim import Claim, Settled
from jetpost.queue.claims.consume import ByteBudget, Consumer, Shared
from jetpost.queue.claims.moves import Moves
from jetpost.queue.claims.settlement import MOVED_TO, Settlement
from jetpost.queue.clock.clock import Clock
from jetpost.queue.content.large import LargeContent
from jetpost.queue.integrity.keeper import Keeper
from jetpost.queue.integrity.made import Made
from jetpost.queue.model.entry import DomainToken, Entry, shard_of
from jetpost.queue.model.states import State
from jetpost.queue.model.transition import publication
from jetpost.queue.model.unreadable import Unreadable
from jetpost.queue.provision.capacity import Capacity
from jetpost.queue.provision.durability import Durability
from jetpost.queue.provision.settings import QueueSettings
from jetpost.queue.provision.stream import CONTENT_STREAM, provision
from jetpost.queue.storage.acks import Acks
from jetpost.queue.storage.answer import (
    QUEUE_AWAY,
    QUEUE_CANNOT,
    QUEUE_FULL,
    Impossible,
    Refused,
    Unavailable,
    unavailable,
)
from jetpost.queue.storage.commit import GroupCommit
from jetpost.queue.storage.doubt import Doubts
from jetpost.queue.storage.holding import Holding
from jetpost.queue.storage.shard import Shard, StoredEntry
from jetpost.reason import reason_of
from jetpost.tasks import end
from jetpost.telemetry.log import logger

_PAUSE_S = 0.5

log = logger(__name__)


class Committed(NamedTuple):
    """Every entry is on disk: the message may be answered for with 250."""


@asynccontextmanager
async def opened(
    jetstream: JetStream,
    settings: QueueSettings,
    waits_for: Callable[[str], None] = lambda _: None,
    patience_s: float | None = None,
) -> AsyncIterator["Queue"]:
    """The queue while the block runs, checked and made; see `Queue.open`.

    With `patience_s`: Unreachable, with the reason, when it is not open within that time.
    """
    reason = "no answer"

    def wait_for(why: str) -> None:
        nonlocal reason
        reason = why
        waits_for(why)

    async with AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(patience_s):
                queue = await Queue.open(jetstream, settings, wait_for)
                stack.push_async_callback(queue.close)
        except TimeoutError:
            if patience_s is None:
                raise
            raise Unreachable(reason) from None
        yield queue


class Queue:
    """One process's view of the queue. Use `async with`: the block owns its tasks."""

    def __init__(
        self,
        jetstream: JetStream,
        settings: QueueSettings,
        shards: list[Shard],
        durability: Durability | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.settings = settings
        self.shards = shards
        # Of several servers another takes over from one that is full. A lone one is full for long.
        is_lone = settings.replicas == 1
        patience_s = settings.commit_timeout_s
        self.content = LargeContent(jetstream, write_s=0 if is_lone else patience_s, read_s=patience_s)
        self._jetstream = jetstream
        self.clock = clock or Clock(jetstream, settings)
        self._durability = durability or Durability(jetstream, settings)
        self._made = Made(jetstream)
        self._keeper = Keeper(jetstream, [*(shard.stream for shard in shards), CONTENT_STREAM])
        self._committers = [GroupCommit(shard, settings.commit_timeout_s, is_lone=is_lone) for shard in shards]
        self._moves = Moves(self.content, self._committers)
        self.holding = Holding(self._committers)
        self._settled = Settled()
        self._acks = Acks(jetstream, is_lone=is_lone)
        self._consumers: list[Consumer] = []
        self._settlement = Settlement(self._moves, self._acks, self._settled, self.content, settings.quarantine_after)
        self._capacity = Capacity(jetstream, settings, shards, self._committers, self._acks)
        self._doubts = Doubts(list(zip(shards, self._committers, strict=True)))
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def open(
        cls,
        jetstream: JetStream,
        settings: QueueSettings,
        waits_for: Callable[[str], None] = lambda _: None,
        wall: Callable[[], float] = time.time,
    ) -> Self:
        """Check the servers, make the streams, begin. Unsafe when the queue would not keep its promise.

        Waits as long as the servers cannot be asked, and tells `waits_for` the reason.
        """
        durability, clock = Durability(jetstream, settings), Clock(jetstream, settings, wall)
        while True:
            try:
                await durability.establish()
                shards = await provision(jetstream, settings)
                await clock.measure()
                break
            except (Unreachable, ApiError) as error:
                log.warning("waiting for the queue", error=reason_of(error))
                waits_for(reason_of(error))
                await asyncio.sleep(_PAUSE_S)
        self = cls(jetstream, settings, shards, durability, clock)
        await self._acks.listen()
        with contextlib.suppress(Unreachable, ApiError):  # looked at again in a moment
            await self._keeper.look()
        self._tasks = [
            asyncio.create_task(self._capacity.watch(), name="queue watch"),
            asyncio.create_task(self._doubts.watch(), name="doubts"),
            asyncio.create_task(self._beat(), name="queue beat"),
            asyncio.create_task(self._acks.watch(), name="acks"),
            asyncio.create_task(durability.watch(), name="durability"),
            asyncio.create_task(clock.watch(), name="clock"),
            asyncio.create_task(self._made.watch(), name="streams"),
            asyncio.create_task(self._keeper.watch(), name="keeper"),
            *(asyncio.create_task(committer.run(), name="group commit") for committer in self._committers),
        ]
        return self

    async def close(self) -> None:
        """End the queue's own tasks. Claims that are still live come back to others after `ack_wait_s`."""
        async with AsyncExitStack() as closing:  # each of them, whatever the one before comes to; the last first
            closing.push_async_callback(self._keeper.close)
            closing.push_async_callback(end, self._tasks)
            closing.push_async_callback(self._acks.close)
            for consumer in reversed(self._consumers):
                closing.push_async_callback(consumer.stop)

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """What the queue lives from; none of them ends by itself."""
        return list(self._tasks)

    def trouble(self) -> str | None:
        """Why the queue cannot take mail, or None."""
        if (away := self._jetstream.trouble()) is not None:
            return away
        if self._capacity.is_full:
            return "queue.max_bytes is reached"
        if self._capacity.write_error is not None:
            return str(self._capacity.write_error)
        if (doubt := self._doubt()) is not None:
            return doubt
        broken = next((task.get_name() for task in self._tasks if task.done()), None)
        if broken is not None:
            return f"{broken} has stopped"
        return next((committer.trouble for committer in self._committers if committer.trouble), None)

    def _doubt(self) -> str | None:
        """Why the queue would not keep its promise now, or None."""
        return self._durability.trouble or self._made.trouble or self._keeper.trouble or self.clock.trouble()

    async def enqueue(
        self, entries: Sequence[Entry], *, whole: bool = True, is_new: bool = True
    ) -> Committed | Unavailable:
        """Store all entries of one message, or none. Repeats itself while in doubt.

        Unavailable with a permanent reply: nothing was stored, and never will be. Content by reference must be `whole`;
        False for an entry that is restored without its content. In doubt, what lies under the keys of a message that
        `is_new` can only be ours, and is kept or removed; whatever else lies there is left alone.
        """
        if self._capacity.is_full:
            return Unavailable(QUEUE_FULL, "queue.max_bytes is reached")
        if (disk := self._capacity.write_error) is not None:
            return Unavailable(disk.reply, str(disk))
        if (doubt := self._doubt()) is not None:
            return Unavailable(QUEUE_AWAY, doubt)
        number = shard_of(entries[0].queue_id, len(self.shards))
        unit = tuple(publication(self.shards[number], entry, 0) for entry in entries)
        try:
            await (self.content.hold if whole else self.content.refer)(entries)
        except (Unreachable, ApiError) as error:
            return await self._capacity.explained(unavailable(error))
        answer = await self._committers[number].commit(unit)
        if isinstance(answer, Refused) and len(unit) > 1:
            answer = await self._moves.complete(number, unit)
        if isinstance(answer, Impossible):
            return Unavailable(QUEUE_CANNOT, answer.cause)
        if isinstance(answer, Unavailable) and answer.in_doubt and is_new:
            answer = await self._doubts.settle(number, entries, answer)
        if isinstance(answer, Unavailable):
            return await self._capacity.explained(answer)
        # Refused means that an earlier, unanswered try of this very commit was stored.
        MOVED_TO[State.READY].inc(len(entries))
        return Committed()

    async def explained(self, answer: Unavailable) -> Unavailable:
        """`answer` with the reason that the servers give for it, when they give one: that their disk is full, say."""
        return await self._capacity.explained(answer)

    def consumer(
        self, state: State, *, domain_token: DomainToken | None = None, max_claims: int, max_bytes: int | ByteBudget
    ) -> Consumer:
        """Claims of `state`. `max_claims` and `max_bytes`, which may be shared, bound what is held at a time."""
        budget = max_bytes if isinstance(max_bytes, ByteBudget) else ByteBudget(max_bytes)
        shared = Shared(self.settings, self._settled, self.holding.hold, lambda: self._capacity.cannot_write)
        consumer = Consumer(self.shards, shared, state, domain_token, max_claims=max_claims, budget=budget)
        self._consumers.append(consumer)
        return consumer

    async def retire(self, consumer: Consumer) -> None:
        """Stop a consumer that is no longer needed (a lane that is congested no more)."""
        await consumer.stop()
        self._consumers.remove(consumer)

    async def settle(self, claim: Claim, successors: Sequence[Entry]) -> bool:
        """Make the transition of a claim. See `Settlement.settle`."""
        return await self._settlement.settle(claim, successors)

    async def is_open(self, claim: Claim) -> bool:
        """Whether the entry is still to be attempted. See `Settlement.is_open`."""
        return await self._settlement.is_open(claim)

    async def store_again(self, claim: Claim) -> None:
        """Let the entry follow itself. See `Settlement.store_again`."""
        await self._settlement.store_again(claim)

    async def give_up(self, claim: Claim, error: Exception) -> None:
        """Handling the claimed entry has failed. See `Settlement.give_up`."""
        await self._settlement.give_up(claim, error)

    async def nak(self, claim: Claim) -> None:
        """Not begun: somebody else may have it at once."""
        await self._settlement.nak(claim)

    async def move(self, shard: Shard, found: StoredEntry, successors: Sequence[Entry]) -> bool:
        """Move an entry that nobody has claimed. See `Moves.unclaimed`."""
        return await self._moves.unclaimed(shard, found, successors)

    async def hold(self, shard: Shard, found: Unreadable) -> bool:
        """Hold what cannot be read, wherever it lies. See `Holding.hold`."""
        return await self.holding.hold(shard, found)

    async def _beat(self) -> None:
        """In-progress acks for every claim, from here and not from the work itself: that may take ten minutes."""
        while True:
            await asyncio.sleep(self.settings.ack_wait_s / 3)
            for consumer in list(self._consumers):
                await consumer.beat()
