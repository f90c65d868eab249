"""What a crash left behind in CONTENT is removed, and nothing that an entry needs ever is."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from nats.aio.msg import Msg

from jetpost.jetstream.connection import JetStream
from jetpost.jetstream.errors import Unreachable
from jetpost.jetstream.settings import Nats
from jetpost.mail.content import Reference
from jetpost.queue.content.large import CHUNK_BYTES, ContentMissing
from jetpost.queue.listing import entries
from jetpost.queue.maintenance.contents import contents
from jetpost.queue.maintenance.sweep import Sweep
from jetpost.queue.model.entry import Entry
from jetpost.queue.model.states import State
from jetpost.queue.queue import Committed, Queue
from jetpost.queue.storage.shard import StoredEntry
from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.eventually import eventually_asked
from tests.fixtures.letters import LETTER
from tests.fixtures.nats import NatsServer
from tests.fixtures.queue import fresh, opened

AT_ONCE = {"sweep_s": 0.001, "sweep_age_s": 0.001}
INGRESS, SWEEP = "ingress", "sweep"
BYTES = bytes(CHUNK_BYTES + 1000)


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with NatsServer(tmp_path) as running:
        yield running


async def written(queue: Queue) -> Reference:
    """A content without a reference, as a session leaves it that was killed."""
    writer = queue.content.writer(fresh().queue_id)
    await writer.write(BYTES)
    return await writer.finish()


def entry_of(content: Reference, domain: str = "dest.test") -> Entry:
    entry = fresh(domain, content)
    return entry.moved(State.PARKED).moved(State.READY, queue_id=content.content_id)


async def enqueued(queue: Queue, *domains: str) -> Entry:
    content = await written(queue)
    entries = [entry_of(content, domain) for domain in domains or ("dest.test",)]
    assert await queue.enqueue(entries) == Committed()
    return entries[0]


async def only(queue: Queue) -> StoredEntry:
    ((_, found),) = await entries(queue)
    return found


async def readable(queue: Queue, content: Reference) -> bool:
    try:
        return sum([len(chunk) async for chunk in queue.content.chunks(content)]) == len(BYTES)
    except ContentMissing:
        return False


async def sweep_all(queue: Queue, times: int = 4) -> int:
    return sum([(await Sweep(queue._jetstream, queue).once()).removed for _ in range(times)])


async def test_what_no_entry_needs_is_removed_and_counted(server: NatsServer) -> None:
    async with opened(server, **AT_ONCE) as queue:
        await written(queue)  # a session that was killed
        ended = await enqueued(queue)  # its entry ended, and who ended it was killed before the reference went
        await queue.shards[0].forget(ended.key)
        dropped = await enqueued(queue)  # and this time before the chunks went
        await queue.shards[0].forget(dropped.key)
        await queue._jetstream.api("STREAM.PURGE.CONTENT", {"filter": f"content.{dropped.queue_id}.ref.*"})
        tombstone = await enqueued(queue, "bounced.test")
        stored = await only(queue)
        bounced = tombstone.moved(State.BOUNCE)
        assert await queue.move(queue.shards[0], stored, [bounced])
        stored = await only(queue)
        assert await queue.move(queue.shards[0], stored, [fresh("sender.test")])
        await queue._jetstream.api("STREAM.PURGE.MAIL", {"filter": "mail.ready.*.*"})
        assert (await contents(queue._jetstream)).unneeded == 4

        assert await sweep_all(queue) == 4
        held = await contents(queue._jetstream)
        assert (held.messages, held.size, held.contents) == (0, 0, 0)


@pytest.mark.parametrize("state", [State.READY, State.PARKED, State.RETRY, State.BOUNCE, State.HELD])
async def test_an_entry_in_any_state_keeps_its_content(server: NatsServer, state: State) -> None:
    async with opened(server, **AT_ONCE) as queue:
        entry = await enqueued(queue)
        if state is not State.READY:
            assert await queue.move(queue.shards[0], await only(queue), [entry.moved(state)])
        assert await sweep_all(queue) == 0
        assert isinstance(entry.content, Reference)
        assert await readable(queue, entry.content)


async def test_one_of_many_entries_is_enough_also_in_a_shard_of_others(server: NatsServer) -> None:
    async with opened(server, shards=4, **AT_ONCE) as many, opened(server, **AT_ONCE, shards=4) as other:
        kept = [await enqueued(many, "a.test", "b.test", "c-d.test") for _ in range(8)]
        for entry in kept:
            for shard in many.shards:
                await shard.forget(entry.key)  # the entry for a.test
        other.shards = other.shards[:1]  # a process that was not told of the other shards yet
        assert await sweep_all(other) == 0
        for entry in kept:
            assert isinstance(entry.content, Reference)
            assert await readable(many, entry.content)


async def test_a_part_of_an_entry_keeps_the_content(server: NatsServer) -> None:
    async with opened(server, **AT_ONCE) as queue:
        entry = await enqueued(queue)
        part = entry.part("b1").moved(State.BOUNCE)
        await queue.content.refer([part])
        await queue.move(queue.shards[0], await only(queue), [part])
        assert (await only(queue)).entry.queue_id == part.queue_id
        assert await sweep_all(queue) == 0


async def test_what_was_written_lately_is_not_touched(server: NatsServer) -> None:
    async with opened(server, sweep_s=0.001, sweep_age_s=3600) as queue:
        content = await written(queue)
        assert await sweep_all(queue) == 0
        assert await readable(queue, content)


@contextmanager
def killed_at(step: int, jetstream: JetStream) -> Iterator[None]:
    """As a process that is killed at one of its requests: that one and all later ones are never made."""
    request, left = jetstream.request, iter(range(step))

    async def made(subject: str, *rest: Any, **more: Any) -> Msg:
        if next(left, None) is None:
            raise Unreachable("killed")
        return await request(subject, *rest, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jetstream, "request", made)
        yield


class Gate:
    """Lets the requests of two processes pass one by one, in an order of somebody's choosing.

    Between a reference and the commit of its entry the sweep marks nothing: elsewhere the age of a day
    (`queue.sweep_age_s`), which counts from the reference, sees to that, and here it is a millisecond.
    """

    def __init__(self, order: list[str]) -> None:
        self._order = order
        self._running = {INGRESS, SWEEP}
        self._has_referred = self._is_held = False
        self._changed = asyncio.Condition()

    @contextmanager
    def stopping_at(self, jetstream: JetStream, who: str) -> Iterator[None]:
        request = jetstream.request

        async def made(subject: str, *rest: Any, **more: Any) -> Msg:
            async with self._changed:
                await self._changed.wait_for(lambda: self._is_next(who))
                if ".mark." in subject and self._has_referred:
                    self._is_held = True
                    self._changed.notify_all()
                    await self._changed.wait_for(lambda: INGRESS not in self._running)
                    self._is_held = False
                if self._order:
                    self._order.pop(0)
                self._has_referred = self._has_referred or (who == INGRESS and ".ref." in subject)
                self._changed.notify_all()
            return await request(subject, *rest, **more)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(jetstream, "request", made)
            yield

    def _is_next(self, who: str) -> bool:
        waited_for = self._running - {SWEEP} if self._is_held else self._running
        return not self._order or self._order[0] == who or self._order[0] not in waited_for

    async def left(self, who: str) -> None:
        async with self._changed:
            self._running.discard(who)
            self._changed.notify_all()


@asynccontextmanager
async def another(server: NatsServer, whole: Queue) -> AsyncIterator[Queue]:
    """A process whose queue has no tasks of its own that ask anything."""
    jetstream = await JetStream.connect(Nats(servers=(server.url,)), "test")
    queue = Queue(jetstream, whole.settings, whole.shards, clock=whole.clock)
    queue._committers = whole._committers
    try:
        yield queue
    finally:
        await jetstream.close()


async def test_a_sweep_that_is_killed_at_any_step_is_finished_by_the_next(server: NatsServer) -> None:
    async with opened(server, **AT_ONCE) as queue, another(server, queue) as dying:
        kept = await enqueued(queue)
        assert isinstance(kept.content, Reference)
        steps = 0
        for steps in range(200):
            await written(queue)
            with killed_at(steps, dying._jetstream):
                try:
                    await sweep_all(dying, times=2)
                    break
                except Unreachable:
                    pass
            await sweep_all(queue, times=3)
            held = await contents(queue._jetstream)
            assert (held.contents, held.unneeded) == (1, 0)
            assert await readable(queue, kept.content)
        assert 15 < steps < 199  # it was killed at each of its steps


async def test_whoever_hears_yes_keeps_the_content_whatever_the_sweep_does_meanwhile(server: NatsServer) -> None:
    answers: Counter[bool] = Counter()

    async def accept(ingress: Queue, reader: Queue, gate: Gate) -> None:
        with gate.stopping_at(ingress._jetstream, INGRESS):
            content = await written(ingress)
            answer = await ingress.enqueue([entry_of(content)])
        await gate.left(INGRESS)
        answers[answer == Committed()] += 1
        if answer == Committed():
            assert await readable(reader, content)
            await sweep_all(reader)
            assert await readable(reader, content)

    async def sweep(sweeping: Queue, gate: Gate) -> None:
        with gate.stopping_at(sweeping._jetstream, SWEEP):
            await sweep_all(sweeping, times=5)
        await gate.left(SWEEP)

    async with (
        opened(server, **AT_ONCE, commit_timeout_s=0.2) as reader,
        another(server, reader) as ingress,
        another(server, reader) as sweeping,
    ):
        for seed in range(40):
            draw = random.Random(seed)
            share = draw.choice((0.1, 0.2, 0.3, 0.5))  # how often it is ingress's turn
            gate = Gate([INGRESS if draw.random() < share else SWEEP for _ in range(100)])
            await asyncio.gather(accept(ingress, reader, gate), sweep(sweeping, gate))
            await reader._jetstream.api("STREAM.PURGE.MAIL")
            await sweep_all(reader)
    assert answers[True] > 5
    assert answers[False] > 5  # the sweep was first


async def test_the_services_sweep_and_show_it(make_system: MakeSystem, mx: MakeMx) -> None:
    system = await make_system({"queue.sweep_s": 0.5, "queue.sweep_age_s": 0.5}, delivery=2)
    await mx("swept.test", replies={"RCPT": "451 4.2.0 later"})
    async with opened(system.servers[0]) as queue:
        await written(queue)
        assert (await system.submit("ann@home.test", ["bob@swept.test"], LETTER + b"x\r\n" * 200_000)).code == 250

        async def swept() -> bool:
            counts = [await service.metric("jetpost_queue_content_removed_total") for service in system.delivery]
            return sum(counts) == 1

        await eventually_asked(swept, "the sweep has removed the content that nobody needs")
        size = [await service.metric("jetpost_queue_content_removed_bytes_total") for service in system.delivery]
        assert sum(size) == len(BYTES)
        held = await contents(queue._jetstream)
        assert (held.contents, held.unneeded) == (1, 0)
    status, printed = await system.command("queue")
    assert status == 0
    assert "Content by reference: contents 1, without an entry 0" in printed
    status, printed = await system.command("queue", "content", "--json")
    assert (status, json.loads(printed)["contents"]) == (0, 1)
