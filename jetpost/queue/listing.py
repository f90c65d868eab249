"""Looking at the queue beside its consumers: depth, entries, one message."""

import re
from collections import Counter
from typing import NamedTuple

from jetpost.queue.model.entry import DomainToken
from jetpost.queue.model.states import State
from jetpost.queue.model.unreadable import Unreadable
from jetpost.queue.queue import Queue
from jetpost.queue.storage.shard import Found, Shard, StoredEntry

_PAGE = 100_000
_STATES = frozenset(State)
_SEQUENCE = re.compile(r"u([0-9]{1,18})")


class Depth(NamedTuple):
    """How many entries the queue holds."""

    by_state: dict[State, int]
    by_state_and_domain: dict[tuple[State, DomainToken], int]
    strange: int = 0
    """Messages under subjects that no entry has: nobody takes them."""


async def depth(queue: Queue, state: State | None = None) -> Depth:
    """Entries by state and domain, counted by the server. A second for each 100 000 of them: not for every scrape."""
    counts: Counter[tuple[State, DomainToken]] = Counter()
    strange = 0
    for shard in queue.shards:
        strange += await _count(shard, state, counts)
    by_state: Counter[State] = Counter()
    for (where, _), number in counts.items():
        by_state[where] += number
    return Depth(dict(by_state), dict(counts), strange)


async def _count(shard: Shard, state: State | None, counts: Counter[tuple[State, DomainToken]]) -> int:
    offset = strange = 0
    while True:
        question = {"subjects_filter": shard.states(state), "offset": offset}
        answer = await shard.jetstream.api(f"STREAM.INFO.{shard.stream}", question)
        subjects = answer["state"].get("subjects") or {}
        for subject, number in subjects.items():
            tokens = subject.split(".")
            if len(tokens) != 4 or tokens[1] not in _STATES:
                strange += number
            elif tokens[1] != State.DONE.value:
                counts[State(tokens[1]), DomainToken(tokens[2])] += number
        offset += _PAGE
        if offset >= answer.get("total", 0):
            return strange


async def everything(
    queue: Queue, *, state: State | None = None, domain_token: DomainToken | None = None, limit: int = 100
) -> list[tuple[int, Found]]:
    """The first `limit` entries in the order of the queue, each with its shard's number; unreadable ones as well."""
    found: list[tuple[int, Found]] = []
    for shard in queue.shards:
        async for stored in shard.walk(shard.states(state, domain_token)):
            if len(found) >= limit:
                break
            found.append((shard.number, stored))
    return found


async def entries(
    queue: Queue, *, state: State | None = None, domain_token: DomainToken | None = None, limit: int = 100
) -> list[tuple[int, StoredEntry]]:
    """Of the first `limit` in the order of the queue those that are entries, each with its shard's number."""
    return _readable(await everything(queue, state=state, domain_token=domain_token, limit=limit))


async def called(queue: Queue, queue_id: str) -> list[tuple[int, Found]]:
    """All that is called `queue_id`, whatever its state and domain, each with its shard's number.

    What has no queue id is called `u<sequence>`.
    """
    found: list[tuple[int, Found]] = [
        (shard.number, stored)
        for shard in queue.shards
        async for stored in shard.walk(f"{shard.prefix}.*.*.{queue_id}")
    ]
    if not found and (by_sequence := _SEQUENCE.fullmatch(queue_id)) is not None:
        for shard in queue.shards:
            at = await shard.at(int(by_sequence[1]))
            if isinstance(at, Unreadable) and at.queue_id == queue_id:
                found.append((shard.number, at))
    return found


async def show(queue: Queue, queue_id: str) -> list[tuple[int, StoredEntry]]:
    """Every live entry of one message, whatever its state and domain, each with its shard's number."""
    return _readable(await called(queue, queue_id))


def _readable(found: list[tuple[int, Found]]) -> list[tuple[int, StoredEntry]]:
    return [(number, stored) for number, stored in found if isinstance(stored, StoredEntry)]
