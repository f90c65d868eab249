"""What a nats-server will never take is refused or held, and costs its neighbours nothing."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from jetpost.mail.content import Inline
from jetpost.queue.listing import entries
from jetpost.queue.model.publication import Publication
from jetpost.queue.model.states import State
from jetpost.queue.model.transition import publication
from jetpost.queue.queue import Committed, Queue
from jetpost.queue.storage.answer import Impossible, Stored, Unavailable
from tests.fixtures.nats import NatsServer
from tests.fixtures.queue import PLENTY, fresh, opened

TOO_LARGE = Inline(b"x" * (8 * 1024 * 1024))


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with NatsServer(tmp_path) as server:
        yield server


async def test_a_message_that_can_never_be_stored_is_refused_for_good(server: NatsServer) -> None:
    async with opened(server) as queue:
        refused = await queue.enqueue([fresh(content=TOO_LARGE)])
        assert isinstance(refused, Unavailable)
        assert (refused.reply.code, str(refused.reply.status)) == (554, "5.3.4")
        assert queue.trouble() is None
        assert await queue.enqueue([fresh()]) == Committed()


async def test_one_impossible_unit_does_not_fail_its_neighbours(server: NatsServer) -> None:
    async with opened(server) as queue:
        shard, committer = queue.shards[0], queue._committers[0]
        # A request that the server alone knows to be bad: a schedule that is none.
        bad = publication(shard, fresh(), 0)
        bad = Publication(bad.subject, {**bad.headers, "Nats-Schedule": "@nonsense"}, bad.payload)
        good = [(publication(shard, fresh(), 0),) for _ in range(50)]
        units = [*good[:25], (bad,), *good[25:]]
        answers = await asyncio.gather(*(committer.commit(unit) for unit in units))
        assert isinstance(answers[25], Impossible)
        assert answers[:25] + answers[26:] == [Stored()] * 50


async def test_an_entry_whose_successor_can_never_be_stored_is_held_as_it_is(server: NatsServer) -> None:
    async with opened(server) as queue:
        await queue.enqueue([entry := fresh()])
        consumer = await queue.consumer(State.READY, max_claims=1, max_bytes=PLENTY).start()
        claim = await anext(consumer)
        dsn = msgspec.structs.replace(fresh("home.test", TOO_LARGE), queue_id=entry.dsn_id())
        assert not await queue.settle(claim, [dsn])
        await _only_held(queue, entry.queue_id)


async def test_an_unclaimed_entry_whose_successor_can_never_be_stored_is_held_too(server: NatsServer) -> None:
    async with opened(server) as queue:
        await queue.enqueue([entry := fresh()])
        ((_, found),) = await entries(queue)
        grown = msgspec.structs.replace(entry.moved(State.PARKED), content=TOO_LARGE)
        assert not await queue.move(queue.shards[0], found, [grown])
        await _only_held(queue, entry.queue_id)


async def test_an_entry_keeps_its_large_record_through_every_move(server: NatsServer) -> None:
    async with opened(server) as queue:
        small = fresh(content=Inline(random.randbytes(1000)))
        await queue.enqueue([entry := msgspec.structs.replace(small, trace="X-Filler: é\r\n" * 10_000)])
        consumer = await queue.consumer(State.READY, max_claims=1, max_bytes=PLENTY).start()
        claim = await anext(consumer)
        assert claim.entry == entry
        parked = entry.moved(State.PARKED)
        assert await queue.settle(claim, [parked])
        assert [found.entry for _, found in await entries(queue, state=State.PARKED)] == [parked]


async def _only_held(queue: Queue, queue_id: str) -> None:
    ((_, found),) = await entries(queue, state=State.HELD)
    assert found.entry.queue_id == queue_id
    assert "cannot be stored" in found.entry.reason
    assert found.entry.content == Inline(b"Subject: hello\r\n\r\nhello\r\n")
