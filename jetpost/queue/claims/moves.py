"""Moves: what follows an entry is stored once, however often that is tried and whoever was killed."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from jetpost.jetstream.errors import ApiError, Unreachable
from jetpost.queue.claims.claim import Claim
from jetpost.queue.content.large import LargeContent
from jetpost.queue.model.entry import Entry
from jetpost.queue.model.publication import Publication
from jetpost.queue.model.states import State
from jetpost.queue.model.transition import succession
from jetpost.queue.storage.answer import QUEUE_AWAY, Answer, Impossible, Refused, Stored, Unavailable
from jetpost.queue.storage.commit import GroupCommit
from jetpost.queue.storage.shard import DEPOSED_S, Shard, StoredEntry
from jetpost.reason import reason_of
from jetpost.telemetry.log import logger

log = logger(__name__)


class Moves:
    """The moves of one process, by way of the committers of its shards."""

    def __init__(self, content: LargeContent, committers: Sequence[GroupCommit]) -> None:
        self._content = content
        self._committers = committers

    async def claimed(self, claim: Claim, successors: Sequence[Entry]) -> Sequence[Entry]:
        """Let `successors` follow the claimed entry; waits out a queue that is away.

        What was stored: the successors, or, when they never can be, the entry itself, held.
        """
        answer = await _insist(claim, lambda: self._try_to_store(claim, successors))
        if isinstance(answer, Impossible):
            successors = [_held(claim.entry, answer)]
            await _insist(claim, lambda: self._try_to_hold(claim, successors), whatever_comes=True)
        return successors

    async def ended(self, claim: Claim) -> None:
        """Nothing follows the claimed entry, whoever else has claimed it; waits out a queue that is away.

        A tombstone refuses what another process would still let follow. What that has let follow already is removed:
        nobody needs it any more, and the content that it refers to may go now.
        """
        await _insist(claim, lambda: self._try_to_end(claim))

    async def unclaimed(self, shard: Shard, found: StoredEntry, successors: Sequence[Entry]) -> bool:
        """Move an entry that nobody has claimed: the same batch, then its predecessor is deleted.

        False when somebody else moved it first, or when the successors can never be stored and it is held instead.
        Unreachable or ApiError when the queue is away.
        """
        answer = await self._try_to_move(shard, found, successors)
        moved = isinstance(answer, Stored)
        if isinstance(answer, Impossible) and found.entry.state is not State.HELD:
            answer = await self._try_to_move(shard, found, [_held(found.entry, answer)])
        if isinstance(answer, Unavailable | Impossible):
            raise Unreachable(answer.cause)
        await shard.delete(found.sequence)
        return moved

    async def complete(self, number: int, unit: tuple[Publication, ...]) -> Answer:
        """Store what is missing of a unit of which a part is there already.

        A batch is all or nothing, but for a server that is killed (-9) between two writes of one: what it had written
        by then it finds again. Each publication has its own expected sequence, so storing them singly stores what is
        missing. The answer is that of the last one, which carries that of the whole.
        """
        answer: Answer = Stored()
        for one in unit:
            answer = await self._committers[number].commit((one,))
            if isinstance(answer, Unavailable):
                return answer._replace(in_doubt=True)
            if isinstance(answer, Impossible):
                return answer
        return answer

    async def _try_to_store(self, claim: Claim, successors: Sequence[Entry]) -> Answer:
        await self._content.refer(successor for successor in successors if successor.key != claim.entry.key)
        unit = succession(claim.shard, claim.entry, claim.sequence, successors)
        answer = await self._committers[claim.shard.number].commit(unit)
        if isinstance(answer, Refused) and not await self._has_moved(claim, successors):
            answer = await self.complete(claim.shard.number, unit)
            if isinstance(answer, Refused):
                return Unavailable(QUEUE_AWAY, "it cannot be said whether the entry has moved")  # look again
        return answer

    async def _try_to_hold(self, claim: Claim, held: Sequence[Entry]) -> Answer:
        answer = await self._try_to_store(claim, held)
        # There is nothing else that could be stored of it: it is tried until somebody has made room for it.
        return Unavailable(QUEUE_AWAY, answer.cause) if isinstance(answer, Impossible) else answer

    async def _try_to_end(self, claim: Claim) -> Answer:
        answer = await self._try_to_store(claim, [])
        if isinstance(answer, Refused):
            await claim.shard.forget(claim.entry.key)
        return answer

    async def _has_moved(self, claim: Claim, successors: Sequence[Entry]) -> bool:
        """Whether a later sequence stands under the key: our own successor (a repeated move), or another process's.

        Either way the entry lives on under that sequence, and its predecessor can go: nothing is lost. Only the second
        case is worth an operator's eye: the other process's entry may name recipients who have the message by now.
        Unreachable or ApiError when nobody answers.
        """
        last = await claim.shard.last(claim.entry.key)
        if last < claim.sequence:
            # Ended, by another process; or the leader is none any more, and has not seen the entry. Then it learns
            # that.
            await asyncio.sleep(DEPOSED_S)
            last = await claim.shard.last(claim.entry.key)
        if 0 < last <= claim.sequence:
            return False
        found = await claim.shard.latest(claim.entry.key)
        ours = {successor.state for successor in successors if successor.key == claim.entry.key}
        if found is None or found.state in ours or (State.RETRY in ours and found.state is State.READY):
            log.info("entry was already moved by this process", queue_id=claim.entry.queue_id, sequence=claim.sequence)
        else:
            log.warning("entry was moved by another process", queue_id=claim.entry.queue_id, state=str(found.state))
        return True

    async def _try_to_move(self, shard: Shard, found: StoredEntry, successors: Sequence[Entry]) -> Answer:
        unit = succession(shard, found.entry, found.sequence, successors)
        return await self._committers[shard.number].commit(unit)


async def _insist(claim: Claim, attempt: Callable[[], Awaitable[Answer]], *, whatever_comes: bool = False) -> Answer:
    """What the queue answers to `attempt` when it is not away.

    An `attempt` that fails otherwise is a bug, and Impossible: were it raised, the outcome would be forgotten, and the
    entry attempted again. With `whatever_comes` it is made again for ever, as there is no other way.
    """
    pause_s = 0.1
    while True:
        try:
            answer = await attempt()
        except (Unreachable, ApiError) as error:
            answer = Unavailable(QUEUE_AWAY, reason_of(error))
        except Exception as error:
            log.exception("move failed with an exception", queue_id=claim.entry.queue_id)
            cause = f"{type(error).__name__}: {reason_of(error)}"
            answer = Unavailable(QUEUE_AWAY, cause) if whatever_comes else Impossible(cause)
        if not isinstance(answer, Unavailable):
            return answer
        log.warning("cannot move entry", queue_id=claim.entry.queue_id, error=answer.cause)
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, 5)


def _held(entry: Entry, answer: Impossible) -> Entry:
    """`entry`, kept for an operator: what should have followed cannot be stored."""
    log.error("held", queue_id=entry.queue_id, reason=answer.cause)
    return entry.moved(State.HELD, reason=f"what followed cannot be stored: {answer.cause}")
