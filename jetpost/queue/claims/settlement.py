"""How a claim ends: settled by a transition, stored again, given up, or returned (NAK)."""

import asyncio
from collections.abc import Sequence

from prometheus_client import Counter

from jetpost.jetstream.errors import ApiError, Unreachable
from jetpost.mail.content import Reference
from jetpost.queue.claims.claim import Claim, Settled
from jetpost.queue.claims.consume import ALREADY_SETTLED
from jetpost.queue.claims.moves import Moves
from jetpost.queue.content.large import LargeContent
from jetpost.queue.model.entry import Entry
from jetpost.queue.model.states import State
from jetpost.queue.storage.acks import Acks
from jetpost.queue.storage.shard import Shard
from jetpost.reason import reason_of
from jetpost.telemetry.log import logger

MOVES = Counter("jetpost_queue_moves_total", "Moves of entries. Labels: `state` is the new state.", ["state"])
STORED_AGAIN = Counter(
    "jetpost_queue_stored_again_total",
    "Entries that another process may have claimed as well, stored again before an attempt: one process gets them.",
)
MOVED_TO = {state: MOVES.labels(state.value) for state in State}

_STALE = "stale predecessor not deleted; possible redelivery"
_PAUSE_S = 0.5

log = logger(__name__)


class Settlement:
    """The ends of a process's claims."""

    def __init__(
        self, moves: Moves, acks: Acks, settled: Settled, content: LargeContent, quarantine_after: int
    ) -> None:
        self._moves = moves
        self._acks = acks
        self._settled = settled
        self._content = content
        self._quarantine_after = quarantine_after

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
            MOVED_TO[successor.state].inc()
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

    async def give_up(self, claim: Claim, error: Exception) -> None:
        """Handling the claimed entry has failed, which is a bug: it comes again after `ack_wait_s`.

        When it came too often it is held, as one that never comes to an outcome.
        """
        log.error("cannot process entry", queue_id=claim.entry.queue_id, exc_info=error)
        if claim.claims <= self._quarantine_after:
            claim.consumer.release(claim)
            return
        reason = f"claimed {claim.claims} times, and handling it fails: {type(error).__name__}"
        await self.settle(claim, [claim.entry.moved(State.HELD, reason=reason)])
        log.error("quarantined", queue_id=claim.entry.queue_id, reason=reason)

    async def _drop_content(self, claim: Claim) -> None:
        """Nobody needs the content any more, unless another process has let something follow the entry."""
        try:
            if not await claim.shard.lives_on(claim.entry.key, claim.sequence):
                await self._content.drop(claim.entry)
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


async def _answered(shard: Shard, key: str) -> int:
    """The sequence of the latest entry under `key`, as soon as the leader says it."""
    while True:
        try:
            return await shard.last(key)
        except (Unreachable, ApiError) as error:
            log.warning("cannot check entry, will retry", error=reason_of(error))
            await asyncio.sleep(_PAUSE_S)
