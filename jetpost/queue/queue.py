"""The queue as the services see it: enqueue, consume, settle, NAK."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple, Self

from prometheus_client import Counter

from jetpost.jetstream.connection import JetStream
from jetpost.jetstream.errors import ApiError, Unreachable
from jetpost.mail.content import Reference
from jetpost.queue.claim import Claim, Settled
from jetpost.queue.clock.clock import Clock
from jetpost.queue.consume import ALREADY_SETTLED, ByteBudget, Consumer, Shared
from jetpost.queue.content.large import LargeContent
from jetpost.queue.integrity.keeper import Keeper
from jetpost.queue.integrity.made import Made
from jetpost.queue.model.entry import DomainToken, Entry, shard_of
from jetpost.queue.model.states import State
from jetpost.queue.model.transition import publication
from jetpost.queue.model.unreadable import Unreadable
from jetpost.queue.moves import Moves
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

MOVES = Counter("jetpost_queue_moves_total", "Moves of entries. Labels: `state` is the new state.", ["state"])
STORED_AGAIN = Counter(
    "jetpost_queue_stored_again_total",
    "Entries that another process may have claimed as well, stored again before an attempt: one process gets them.",
)
_STATES = {state: MOVES.labels(state.value) for state in State}

_STALE = "stale predecessor not deleted; possible redelivery"
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
        _STATES[State.READY].inc(len(entries))
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
        """Make the transition: successors in one batch, then the ack. Waits out a queue that is away.

        False when the successors can never be stored: the entry is held as it is, for an operator.

        Killed before the batch is stored: the entry comes back and is attempted again. Killed between batch and ack:
        the entry comes back, a later sequence under its key shows that it is finished, and it is acknowledged. An ack
        that gets lost is replaced by deleting the entry (see Acks); `close` waits for that.
        """
        wanted, ended = successors, ""
        if wanted:
            successors = await self._moves.claimed(claim, wanted)
        elif claim.is_contested or not await self._is_without_predecessor(claim):
            await self._moves.ended(claim)
        else:
            ended = claim.entry.key
        self._settled.add(claim.shard.number, claim.sequence)
        confirmed = await self._acks.ack(claim.shard, claim.sequence, claim.acknowledge_to, ended=ended)
        claim.consumer.release(claim)
        for successor in successors:
            _STATES[successor.state].inc()
        if all(successor.key != claim.entry.key for successor in successors) and isinstance(
            claim.entry.content, Reference
        ):
            # Not before the entry is gone for good: it must never come back without its content.
            await confirmed
            await self._drop_content(claim)
        return successors is wanted

    async def _is_without_predecessor(self, claim: Claim) -> bool:
        """Delete what the entry took the place of, if that is still stored. False when that may not have happened.

        A process may have been killed after it had stored a successor (parked, tried again later, stored again,
        released) and before its ack. The predecessor is redelivered after `ack_wait_s`: when the successor has ended by
        then, nothing under the key would show that the message was delivered.
        """
        if claim.has_predecessor:
            try:
                await claim.shard.forget_before(claim.entry.key, claim.sequence)
            except Exception as error:  # whatever it is: the entry has its outcome, and that is to be recorded
                log.warning(_STALE, queue_id=claim.entry.queue_id, error=reason_of(error))
                return False
        return True

    async def move(self, shard: Shard, found: StoredEntry, successors: Sequence[Entry]) -> bool:
        """Move an entry that nobody has claimed. See `Moves.unclaimed`."""
        return await self._moves.unclaimed(shard, found, successors)

    async def hold(self, shard: Shard, found: Unreadable) -> bool:
        """Hold what cannot be read, wherever it lies. See `Holding.hold`."""
        return await self.holding.hold(shard, found)

    async def give_up(self, claim: Claim, error: Exception) -> None:
        """Handling the claimed entry has failed, which is a bug: it comes again after `ack_wait_s`.

        When it came too often it is held, as one that never comes to an outcome.
        """
        log.error("cannot process entry", queue_id=claim.entry.queue_id, exc_info=error)
        if claim.claims <= self.settings.quarantine_after:
            claim.consumer.release(claim)
            return
        reason = f"claimed {claim.claims} times, and handling it fails: {type(error).__name__}"
        await self.settle(claim, [claim.entry.moved(State.HELD, reason=reason)])
        log.error("quarantined", queue_id=claim.entry.queue_id, reason=reason)

    async def _drop_content(self, claim: Claim) -> None:
        """Nobody needs the content any more, unless another process has let something follow the entry."""
        try:
            if not await claim.shard.lives_on(claim.entry.key, claim.sequence):
                await self.content.drop(claim.entry)
        except Exception as error:  # whatever it is: the entry has ended
            log.warning("content not deleted yet", queue_id=claim.entry.queue_id, error=reason_of(error))

    async def is_open(self, claim: Claim) -> bool:
        """Whether the entry is still to be attempted. Asked before an attempt, for what waited and was lost from sight.

        False: another process has finished it meanwhile, and the claim has ended. Waits out a queue that is away.
        """
        if not await self._acks.answered():
            claim.lost_sight()
        if not claim.is_contested:
            return True
        last = await _answered(claim.shard, claim.entry.key)
        if last == claim.sequence:
            return True
        log.info("already settled by another process", queue_id=claim.entry.queue_id, sequence=claim.sequence)
        ALREADY_SETTLED.labels("other").inc()
        if last > claim.sequence:
            await claim.shard.jetstream.tell(claim.acknowledge_to, b"+ACK")
        # Otherwise it is gone, says a leader that may be none any more: if it is not, it comes again.
        claim.consumer.release(claim)
        return False

    async def store_again(self, claim: Claim) -> None:
        """Let the entry follow itself: of all processes that have it one stores it, and one is given it.

        For a shared claim, before its attempt: otherwise each of them attempts what none has finished yet. Killed
        between batch and ack: as `settle`.
        """
        entry = claim.entry
        await self.settle(claim, [entry.moved(entry.state, claims=claim.claims - 1)])
        STORED_AGAIN.inc()

    async def nak(self, claim: Claim) -> None:
        """Not begun: somebody else may have it at once."""
        await claim.shard.jetstream.tell(claim.acknowledge_to, b"-NAK")
        claim.consumer.release(claim)

    async def _beat(self) -> None:
        """In-progress acks for every claim, from here and not from the work itself: that may take ten minutes."""
        while True:
            await asyncio.sleep(self.settings.ack_wait_s / 3)
            for consumer in list(self._consumers):
                await consumer.beat()


async def _answered(shard: Shard, key: str) -> int:
    """The sequence of the latest entry under `key`, as soon as the leader says it."""
    while True:
        try:
            return await shard.last(key)
        except (Unreachable, ApiError) as error:
            log.warning("cannot check entry, will retry", error=reason_of(error))
            await asyncio.sleep(_PAUSE_S)
