"""What a process claims is bounded in bytes: for each pull, and over its consumers."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from jetpost.mail.content import Inline
from jetpost.queue.claims.consume import ByteBudget, Consumer
from jetpost.queue.model.entry import DomainToken
from jetpost.queue.model.states import State
from jetpost.queue.queue import Queue
from tests.fixtures.eventually import eventually
from tests.fixtures.nats import NatsServer
from tests.fixtures.queue import fresh, opened

SIZE = 50_000
MOST = 4 * SIZE
SLACK = 1000
"""Headers and records."""
DOMAINS = ("one.test", "two.test", "three.test")


@pytest.fixture
async def queue(tmp_path: Path) -> AsyncIterator[Queue]:
    async with NatsServer(tmp_path) as server, opened(server, inline_bytes=1024, ack_wait_s=600) as queue:
        yield queue


def held(consumer: Consumer) -> int:
    return sum(claim.size for claim in consumer.claims)


async def test_a_pull_brings_no_more_than_there_is_room_for(queue: Queue) -> None:
    for _ in range(20):
        await queue.enqueue([fresh(content=Inline(b"x" * SIZE))])
    consumer = await queue.consumer(State.READY, max_claims=1000, max_bytes=MOST).start()
    for _ in range(20):
        claim = await anext(consumer)
        assert held(consumer) <= MOST + SIZE + SLACK
        await queue.settle(claim, [])


async def test_an_entry_that_is_larger_than_all_room_comes_alone(queue: Queue) -> None:
    sizes = [SIZE, 40 * SIZE, SIZE, 40 * SIZE, SIZE]
    for size in sizes:
        await queue.enqueue([fresh(content=Inline(b"x" * size))])
    consumer = await queue.consumer(State.READY, max_claims=1000, max_bytes=MOST).start()
    came = []
    for _ in sizes:
        claim = await anext(consumer)
        came.append(claim.entry.size)
        assert held(consumer) <= MOST + 40 * SIZE + SLACK
        await queue.settle(claim, [])
    assert came == sizes


async def test_a_pull_that_is_complete_is_followed_by_the_next_one(queue: Queue) -> None:
    restarted = REGISTRY.get_sample_value("jetpost_queue_pulls_restarted_total")
    for _ in range(30):
        await queue.enqueue([fresh()])
    consumer = await queue.consumer(State.READY, max_claims=5, max_bytes=MOST).start()
    for _ in range(30):
        await queue.settle(await anext(consumer), [])
    # Made again, it would lose sight of what is on its way, which comes back after `ack_wait_s` only.
    assert REGISTRY.get_sample_value("jetpost_queue_pulls_restarted_total") == restarted


async def test_consumers_share_one_memory_and_nobody_is_left_out(queue: Queue) -> None:
    await _park(queue, dict.fromkeys(DOMAINS, 10))
    budget = ByteBudget(MOST)
    consumers = [await _parked(queue, domain, budget).start() for domain in DOMAINS]
    for _ in range(10):
        for consumer in consumers:
            await eventually(lambda it=consumer: it.claims, "each domain has its turn")  # type: ignore[misc]
            assert sum(map(held, consumers)) <= MOST + len(DOMAINS) * (SIZE + SLACK)
            await queue.settle(await anext(consumer), [])


async def test_who_comes_when_others_hold_all_the_room_may_begin(queue: Queue) -> None:
    first, second, late = DOMAINS
    await _park(queue, {first: 10, second: 10, late: 1})
    budget = ByteBudget(MOST)
    fast = [await _parked(queue, domain, budget).start() for domain in (first, second)]
    await eventually(lambda: sum(map(held, fast)) >= MOST, "the others hold all the room")
    slow = await _parked(queue, late, budget).start()
    await eventually(lambda: slow.claims, "it has its turn")
    assert sum(map(held, [*fast, slow])) <= MOST + len(DOMAINS) * (SIZE + SLACK)


async def test_what_comes_to_a_consumer_that_ends_is_taken(queue: Queue) -> None:
    """Given back, it came again when the next consumer was about to end, and again, until it was held."""
    (domain, *_) = DOMAINS
    consumer = await _parked(queue, domain, ByteBudget(MOST)).start()
    await consumer.exhausted()
    ending = asyncio.create_task(consumer.ended())
    await _park(queue, {domain: 1})
    claim = await anext(consumer)
    assert claim.times_delivered == 1
    assert not await ending
    await queue.settle(claim, [])
    await consumer.exhausted()
    assert await consumer.ended()


async def _park(queue: Queue, counts: dict[str, int]) -> None:
    taking = await queue.consumer(State.READY, max_claims=1000, max_bytes=10**8).start()
    for domain, count in counts.items():
        for _ in range(count):
            await queue.enqueue([fresh(domain, Inline(b"x" * SIZE))])
            claim = await anext(taking)
            await queue.settle(claim, [claim.entry.moved(State.PARKED)])
    await queue.retire(taking)


def _parked(queue: Queue, domain: str, budget: ByteBudget) -> Consumer:
    return queue.consumer(
        State.PARKED, domain_token=DomainToken(domain.replace(".", "_")), max_claims=1000, max_bytes=budget
    )
