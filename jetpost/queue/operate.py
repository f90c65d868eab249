"""What operators do with entries: release and delete what is held, put back what a backup had.

Killed at any step: `docs/states.md`, Release.
"""

from jetpost.queue.model.entry import shard_of
from jetpost.queue.model.states import State
from jetpost.queue.model.unreadable import Unreadable
from jetpost.queue.queue import Queue
from jetpost.queue.storage.shard import Found, Shard, StoredEntry


async def release(queue: Queue, shard: Shard, held: StoredEntry) -> bool:
    """Give a held entry back to whoever it was taken from: delivery, or the bouncer when recipients had failed.

    False when somebody else moved it first. ValueError when it is not held.
    """
    state = State.BOUNCE if held.entry.failures else State.READY
    if held.entry.state is not State.HELD:
        raise ValueError(f"{held.entry.queue_id} is {held.entry.state}, not held")
    return await queue.move(shard, held, [held.entry.moved(state, reason="")])


async def discard(queue: Queue, shard: Shard, found: Found) -> bool:
    """Delete an entry that is held, or what nobody takes, for good. False when somebody else moved it first.

    An entry leaves a tombstone: what it was moved from, by a process that was killed then, does not come back.
    """
    if isinstance(found, Unreadable):
        return await queue.holding.discard(shard, found)
    discarded = await queue.move(shard, found, [])
    if discarded:
        await queue.content.drop(found.entry)
    return discarded


async def put_back(queue: Queue, found: Unreadable) -> bool:
    """Hold what a backup had that is no readable entry; False when it is there. Unreachable: away or full."""
    number = shard_of(found.queue_id, len(queue.shards))
    return await queue.holding.put_back(queue.shards[number], found)
