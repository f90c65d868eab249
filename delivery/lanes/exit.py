"""How claims leave a lane without an attempt: moved to another state, given up, or returned to the queue (NAK)."""

import asyncio

from prometheus_client import Counter

from delivery.shaping.limits import is_near_quarantine
from jetpost.queue.claims.claim import Claim
from jetpost.queue.model.entry import Entry
from jetpost.queue.model.states import State
from jetpost.queue.queue import Queue
from jetpost.tasks import finish
from jetpost.telemetry.log import logger

NAKS = Counter("jetpost_delivery_naks_total", "Entries returned to the queue (NAK) at shutdown.")

_RENEW_S = 5.0

log = logger(__name__)


class Exit:
    """The way out, for all lanes of a process."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._near_quarantine: list[Claim] = []
        """Claims of entries that were returned often: they are stored again in place of a NAK."""

    async def moved(self, claim: Claim, successor: Entry) -> bool:
        """Let `successor` follow; False when that failed, and the claim was given up."""
        try:
            await self._queue.settle(claim, [successor])
        except asyncio.CancelledError:
            await self._queue.nak(claim)
            raise
        except Exception as error:
            await self.give_up(claim, error)
            return False
        return True

    async def give_up(self, claim: Claim, error: Exception) -> None:
        """Handling a claim has failed: it comes back, and is held when it always fails."""
        try:
            await self._queue.give_up(claim, error)
        except Exception:
            log.exception("cannot release entry", queue_id=claim.entry.queue_id)
            claim.consumer.release(claim)

    async def nak(self, claim: Claim) -> None:
        """Somebody else may have it at once; near quarantine it waits for `renew`."""
        NAKS.inc()
        if is_near_quarantine(claim.claims, self._queue.settings.quarantine_after):
            self._near_quarantine.append(claim)
        else:
            await self._queue.nak(claim)

    async def renew(self) -> None:
        """End claims near quarantine by a move: their entries' claims are counted from one again.

        What the queue does not take in time is returned by a NAK after all.
        """
        claims, self._near_quarantine = self._near_quarantine, []
        moves = {asyncio.create_task(self._queue.settle(claim, [_anew(claim.entry)])): claim for claim in claims}
        await finish(moves, _RENEW_S)
        for move, claim in moves.items():
            if move.cancelled():
                await self._queue.nak(claim)


def _anew(entry: Entry) -> Entry:
    """The entry under another subject, where any process takes it up."""
    return entry.moved(State.READY if entry.state is State.PARKED else State.PARKED)
