"""Retries that no server began: one that lost its cluster while it fired them may have forgotten that it did not."""

from datetime import datetime, timedelta

from prometheus_client import Counter

from delivery.context import DeliveryContext
from jetpost.jetstream.errors import ApiError, Unreachable
from jetpost.queue.model.entry import Entry
from jetpost.queue.model.states import State
from jetpost.queue.model.unreadable import Unreadable
from jetpost.queue.storage.shard import Found, Shard, StoredEntry
from jetpost.telemetry.log import logger

BEGUN_LATE = Counter(
    "jetpost_delivery_late_retries_total", "Overdue retries that the watchdog started instead of the server."
)
_A_LOOK = 32
"""Entries of a shard that are looked at each time; the next look goes on behind them."""

log = logger(__name__)


class LateRetries:
    """Goes round the retries of the queue, a few at a time."""

    def __init__(self, context: DeliveryContext) -> None:
        self._context = context
        self._looked_up_to: dict[int, int] = {}

    async def begin(self) -> None:
        """Make READY what should have been for `retry_late_s`. Unreachable or ApiError when the queue is away.

        With an expected last sequence: what the server has begun meanwhile stays its own. Killed between the batch and
        the deletion of the retry: the server, or the next look, finds that the key has moved on, and removes it.
        """
        for shard in self._context.queue.shards:
            self._looked_up_to[shard.number] = await self._look(shard, self._looked_up_to.get(shard.number, 0))

    async def _look(self, shard: Shard, beyond: int) -> int:
        """How far it came; 0 when that was the end."""
        for _ in range(_A_LOOK):
            found = await shard.oldest(State.RETRY, beyond=beyond)
            if found is None:
                return 0
            beyond = found.sequence
            try:
                await self._look_at(shard, found)
            except (Unreachable, ApiError):
                raise
            except Exception:  # a bug costs this retry its turn, and no other
                log.exception("cannot check retry", sequence=found.sequence)
        return beyond

    async def _look_at(self, shard: Shard, found: Found) -> None:
        if isinstance(found, Unreadable):
            await self._context.queue.hold(shard, found)
        elif self._is_late(found.entry, self._context.now()):
            await self._begin(shard, found)

    async def _begin(self, shard: Shard, late: StoredEntry) -> None:
        if await self._context.queue.move(shard, late, [late.entry.moved(State.READY)]):
            BEGUN_LATE.inc()
            log.warning("overdue retry started", queue_id=late.entry.queue_id, due=str(late.entry.due))

    def _is_late(self, entry: Entry, now: datetime) -> bool:
        # One without a time would never be begun by anybody.
        return entry.due is None or now - entry.due > timedelta(seconds=self._context.config.retry_late_s)
