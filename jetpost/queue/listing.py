"""Looking at the queue beside its consumers: depth, entries, one message."""

from collections import Counter
from typing import NamedTuple

from jetpost.queue.entry import Site
from jetpost.queue.queue import Queue
from jetpost.queue.shard import Lying, Shard
from jetpost.queue.states import State

_PAGE = 100_000


class Depth(NamedTuple):
    """How many entries the queue holds."""

    by_state: dict[State, int]
    by_state_and_site: dict[tuple[State, Site], int]


async def depth(queue: Queue, state: State | None = None) -> Depth:
    """Entries by state and site, counted by the server. A second for each 100 000 of them: not for every scrape."""
    counts: Counter[tuple[State, Site]] = Counter()
    for shard in queue.shards:
        await _count(shard, state, counts)
    by_state: Counter[State] = Counter()
    for (where, _), number in counts.items():
        by_state[where] += number
    return Depth(dict(by_state), dict(counts))


async def _count(shard: Shard, state: State | None, counts: Counter[tuple[State, Site]]) -> None:
    offset = 0
    while True:
        question = {"subjects_filter": shard.states(state), "offset": offset}
        answer = await shard.jetstream.api(f"STREAM.INFO.{shard.stream}", question)
        subjects = answer["state"].get("subjects") or {}
        for subject, number in subjects.items():
            _, where, site, _ = subject.split(".")
            if where != State.DONE.value:
                counts[State(where), Site(site)] += number
        offset += _PAGE
        if offset >= answer.get("total", 0):
            return


async def entries(
    queue: Queue, *, state: State | None = None, site: Site | None = None, limit: int = 100
) -> list[tuple[int, Lying]]:
    """The first `limit` entries in the order of the queue, each with its shard's number."""
    found: list[tuple[int, Lying]] = []
    for shard in queue.shards:
        async for stored in shard.walk(shard.states(state, site)):
            if len(found) >= limit:
                break
            found.append((shard.number, stored))
    return found


async def show(queue: Queue, queue_id: str) -> list[tuple[int, Lying]]:
    """Every live entry of one message, whatever its state and site, each with its shard's number."""
    return [
        (shard.number, stored)
        for shard in queue.shards
        async for stored in shard.walk(f"{shard.prefix}.*.*.{queue_id}")
    ]
