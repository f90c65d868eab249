"""What a process claims is bounded in octets: for each pull, and over its consumers."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from jetpost.mail.content import Inline
from jetpost.queue.consume import Consumer, Memory
from jetpost.queue.entry import Site
from jetpost.queue.queue import Queue
from jetpost.queue.states import State
from tests.fixtures.eventually import eventually
from tests.fixtures.nats import NatsServer
from tests.fixtures.queue import fresh, opened

SIZE = 50_000
MOST = 4 * SIZE
SLACK = 1000
"""Headers and records."""
SITES = ("one.test", "two.test", "three.test")


@pytest.fixture
async def queue(tmp_path: Path) -> AsyncIterator[Queue]:
    async with NatsServer(tmp_path) as server, opened(server, inline_bytes=1024, ack_wait_s=600) as queue:
        yield queue


def held(consumer: Consumer) -> int:
    return sum(claim.octets for claim in consumer.claims)


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
    taking = await queue.consumer(State.READY, max_claims=1000, max_bytes=10**8).start()
    for site in SITES:
        for _ in range(10):
            await queue.enqueue([fresh(site, Inline(b"x" * SIZE))])
    for _ in range(10 * len(SITES)):
        claim = await anext(taking)
        await queue.settle(claim, [claim.entry.moved(State.PARKED)])
    memory = Memory(MOST)
    consumers = [
        await queue.consumer(State.PARKED, site=Site(site.replace(".", "_")), max_claims=1000, max_bytes=memory).start()
        for site in SITES
    ]
    for _ in range(10):
        for consumer in consumers:
            await eventually(lambda it=consumer: it.claims, "each site has its turn")  # type: ignore[misc]
            assert sum(map(held, consumers)) <= MOST + len(SITES) * (SIZE + SLACK)
            await queue.settle(await anext(consumer), [])
