"""What cannot be read is held: moved to `held` as it is, in one step that can happen once, whoever finds it.

Killed before the copy is stored: it is found again. Killed between the copy and the deletion of what it was made of:
found again, the expected sequence refuses a second copy, and the deletion is done.
"""

from collections.abc import Sequence

from prometheus_client import Counter

from jetpost.jetstream.errors import Unreachable
from jetpost.queue.model.publication import Publication
from jetpost.queue.model.states import State
from jetpost.queue.model.transition import expecting, tombstone
from jetpost.queue.model.unreadable import Unreadable
from jetpost.queue.storage.answer import Impossible, Stored, Unavailable
from jetpost.queue.storage.commit import GroupCommit
from jetpost.queue.storage.shard import Shard
from jetpost.telemetry.log import logger

UNREADABLE = Counter(
    "jetpost_queue_unreadable_total",
    "Messages that this process found in the queue and could not read; it holds them. Labels: `state` is where they "
    "lay: ready, parked, retry, bounce, or other.",
    ["state"],
)
for _state in (State.READY, State.PARKED, State.RETRY, State.BOUNCE):
    UNREADABLE.labels(_state.value)  # from the start, so that the first one is an increase

log = logger(__name__)


class Holding:
    """Holds what cannot be read, by way of the committers of the shards."""

    def __init__(self, committers: Sequence[GroupCommit]) -> None:
        self._committers = committers

    async def hold(self, shard: Shard, found: Unreadable) -> bool:
        """Move it to `held`. False: it is larger than nats-server takes with a reason, and stays where it is.

        Unreachable or ApiError when the queue is away.
        """
        if found.state is State.HELD and found.has_key:
            return True
        answer = await self._committers[shard.number].commit((held_copy(shard, found),))
        if isinstance(answer, Unavailable):
            raise Unreachable(answer.cause)
        state = found.state.value if found.state else "other"
        if isinstance(answer, Impossible):
            UNREADABLE.labels(state).inc()
            log.error("cannot hold unreadable entry", subject=found.subject, reason=found.reason, error=answer.cause)
            return False
        if isinstance(answer, Stored):
            UNREADABLE.labels(state).inc()
            log.error("unreadable entry held", queue_id=found.queue_id, subject=found.subject, reason=found.reason)
        # Refused: something later lies under its key, by another process or by this one before.
        await shard.delete(found.sequence)
        return True

    async def put_back(self, shard: Shard, found: Unreadable) -> bool:
        """Hold what lies nowhere yet; False when something lies under its key. Unreachable: the queue is away."""
        answer = await self._committers[shard.number].commit((held_copy(shard, found, fresh=True),))
        if isinstance(answer, Unavailable | Impossible):
            raise Unreachable(answer.cause)
        return isinstance(answer, Stored)

    async def discard(self, shard: Shard, found: Unreadable) -> bool:
        """Delete what is unreadable. False when something else lies under its key by now."""
        if found.has_key:
            answer = await self._committers[shard.number].commit((tombstone(shard, found.key, found.sequence),))
            if isinstance(answer, Unavailable | Impossible):
                raise Unreachable(answer.cause)
            if not isinstance(answer, Stored):
                return False
        await shard.delete(found.sequence)
        return True


def held_copy(shard: Shard, found: Unreadable, *, fresh: bool = False) -> Publication:
    """The message for `held`, refused when it is there already or has moved; `fresh` when it lies nowhere yet."""
    headers = expecting(shard, found.key, found.sequence if found.has_key and not fresh else 0)
    return Publication(shard.subject(found.held_subject), {**found.held_headers(), **headers}, found.payload)
