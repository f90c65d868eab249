"""What no code can read or handle is held as it is, and nobody else fails over it."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from delivery.lanes.lanes import Lanes
from delivery.shaping.adapt import DomainHealth, Observation
from delivery.shaping.limits import LaneSettings
from jetpost.queue.claims.claim import Claim
from jetpost.queue.claims.consume import Consumer
from jetpost.queue.listing import depth, entries, everything
from jetpost.queue.model.entry import Entry
from jetpost.queue.model.states import State
from jetpost.queue.model.unreadable import Unreadable
from jetpost.queue.operate import release
from jetpost.queue.queue import Queue
from jetpost.queue.storage.shard import StoredEntry
from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.eventually import eventually_asked
from tests.fixtures.garbage import KINDS, Garbage, headers, put, put_everything, record
from tests.fixtures.nats import NatsServer
from tests.fixtures.queue import PLENTY, fresh, opened
from tests.fixtures.system import System

TAKEN = (State.READY, State.BOUNCE)
LIVE = (State.READY, State.PARKED, State.RETRY, State.BOUNCE)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with NatsServer(tmp_path) as server:
        yield server


async def held(queue: Queue) -> list[Unreadable]:
    found = await everything(queue, state=State.HELD, limit=10_000)
    return [it for _, it in found if isinstance(it, Unreadable)]


async def claiming(queue: Queue, state: State) -> Consumer:
    return await queue.consumer(state, max_claims=1000, max_bytes=PLENTY).start()


@pytest.mark.parametrize("state", TAKEN)
async def test_a_consumer_holds_what_it_cannot_read_and_takes_the_rest(server: NatsServer, state: State) -> None:
    async with opened(server) as queue:
        count = await put_everything(server.port, state.value)
        await queue.enqueue([entry := fresh()])
        if state is State.BOUNCE:
            ((_, found),) = [it for it in await entries(queue, limit=10_000) if it[1].entry.queue_id == entry.queue_id]
            await queue.move(queue.shards[0], found, [entry.moved(State.BOUNCE)])
        consumer = await claiming(queue, state)
        assert (await anext(consumer)).entry.queue_id == entry.queue_id

        async def all_are_held() -> bool:
            counts = (await depth(queue)).by_state
            # What has a subject of no entry has a readable record: it is an entry under its new key.
            return counts.get(State.HELD) == count and counts.get(state) == 1

        await eventually_asked(all_are_held, "all garbage is held")
        kept = {it.queue_id.removeprefix(f"{state.value}-"): it for it in await held(queue)}
        for name, garbage in KINDS.items():
            assert kept[name].payload == garbage.payload
            assert kept[name].why
            assert kept[name].came_from == f"mail.{state.value}.garbage_test.{state.value}-{name}"
        await consumer.stop()


async def test_every_look_at_the_queue_passes_it_by(server: NatsServer, tmp_path: Path) -> None:
    async with opened(server) as queue:
        counts = {state: await put_everything(server.port, state.value) for state in (*LIVE, State.HELD, State.DONE)}
        del counts[State.DONE]
        await put(server.port, b"mail.foo.garbage_test.x1", Garbage(None))
        await queue.enqueue([entry := fresh()])
        deep = await depth(queue)
        assert deep.strange == 1
        assert deep.by_state == {**counts, State.READY: counts[State.READY] + 1}
        assert len(await everything(queue, limit=10_000)) == sum(counts.values()) + 2
        assert [it.entry for _, it in await entries(queue, limit=10_000)] == [entry]
        for state in LIVE:
            seen, beyond = 0, 0
            while (found := await queue.shards[0].oldest(state, beyond=beyond)) is not None:
                beyond, seen = found.sequence, seen + 1
                assert isinstance(found, Unreadable | StoredEntry)
            assert seen == deep.by_state[state]


async def test_what_is_held_twice_is_held_once(server: NatsServer) -> None:
    """Two processes find it, or one is killed before it deletes what it has made a copy of."""
    async with opened(server) as one, opened(server) as other:
        await put_everything(server.port, "parked")
        found = [it for _, it in await everything(one, state=State.PARKED, limit=1000) if isinstance(it, Unreadable)]
        for each in found:
            assert await one.hold(one.shards[0], each)
        for each in found:
            assert await other.hold(other.shards[0], each)
        assert (await depth(one)).by_state == {State.HELD: len(found)}


async def test_a_message_that_leaves_no_room_for_a_reason_stays_and_is_not_lost(server: NatsServer) -> None:
    async with opened(server) as queue:
        await put(server.port, b"mail.ready.garbage_test.x1", Garbage(None, b"x" * 8 * 1024 * 1024))
        await queue.enqueue([entry := fresh()])
        consumer = await claiming(queue, State.READY)
        claim = await anext(consumer)
        assert claim.entry == entry
        assert (await depth(queue)).by_state == {State.READY: 2}
        await consumer.stop()


async def test_what_a_later_version_can_read_is_released_like_any_other(server: NatsServer) -> None:
    async with opened(server) as queue:
        late = fresh()
        lacking = Garbage(headers(Jetpost_Envelope=record(attempts=-1)), b"Subject: x\r\n\r\n")
        await put(server.port, b"mail.ready.dest_test.%b" % late.queue_id.encode(), lacking)
        ((_, found),) = await everything(queue)
        assert isinstance(found, Unreadable)
        # As a version would do that is older, and cannot read what this one can.
        readable = found._replace(headers={"Jetpost-Envelope": record().decode(), "Nats-Rollup": "all"})
        assert await queue.hold(queue.shards[0], readable)
        ((_, stored),) = await entries(queue, state=State.HELD)
        assert "Expected" in stored.entry.reason
        assert await release(queue, queue.shards[0], stored)
        ((_, released),) = await entries(queue)
        assert (released.entry.state, released.entry.queue_id, released.entry.reason) == (
            State.READY,
            late.queue_id,
            "",
        )


async def test_an_entry_that_nobody_can_handle_is_held_and_its_lane_goes_on(server: NatsServer) -> None:
    settings = LaneSettings(first_connections=1, connections_per_domain=1)
    async with opened(server, quarantine_after=2) as queue:
        bad, good = fresh(), fresh()
        delivered: list[str] = []

        async def deliver(claim: Claim, _: DomainHealth) -> Observation | None:
            if claim.entry.queue_id == bad.queue_id:
                raise RecursionError("nobody foresaw this")
            delivered.append(claim.entry.queue_id)
            await queue.settle(claim, [])
            return None

        await queue.enqueue([bad])
        await queue.enqueue([good])
        consumer = await claiming(queue, State.READY)
        async with asyncio.TaskGroup() as tasks:
            lanes = Lanes(queue, settings, deliver, tasks)
            taking = tasks.create_task(_offer(consumer, lanes))

            async def only_held() -> bool:
                return (await depth(queue)).by_state == {State.HELD: 1}

            await eventually_asked(only_held, "it is held, and the other one is delivered")
            assert delivered == [good.queue_id]
            ((_, stored),) = await entries(queue, state=State.HELD)
            assert "handling it fails: RecursionError" in stored.entry.reason
            await consumer.stop()
            await taking
            await lanes.close(1)


async def _offer(consumer: Consumer, lanes: Lanes) -> None:
    async for claim in consumer:
        await lanes.offer(claim)


async def _submit(system: System, to: str) -> None:
    async with system.relaying() as client:
        assert (await client.transact("ann@home.test", [to], b"Subject: x\r\n\r\nx\r\n")).code == 250


def _aged(state: State, domain: str, **changes: object) -> Entry:
    return msgspec.structs.replace(fresh(domain), state=state, **changes)


async def test_the_whole_system_goes_on_beside_garbage_in_every_state(
    make_system: MakeSystem, mx: MakeMx, tmp_path: Path
) -> None:
    dest = await mx("beside.test")
    home = await mx("home.test")
    await mx("nobody.test", replies={"RCPT": "550 5.1.1 no such user"})
    changes = {"delivery.watchdog_s": 0.3, "delivery.retry_late_s": 1, "delivery.overdue_s": 0}
    system = await make_system(changes, delivery=0)
    server = system.servers[0]
    now = datetime.now(UTC)
    counts = {state: await put_everything(server.port, state.value) for state in LIVE}
    schedule = headers(
        Nats_Schedule=f"@at {now + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}",
        Nats_Schedule_Target="mail.ready.garbage_test.scheduled",
    )
    await put(server.port, b"mail.retry.garbage_test.scheduled", Garbage(schedule))
    counts[State.RETRY] += 1
    for entry in (
        _aged(State.PARKED, "beside.test"),
        _aged(State.PARKED, "late.test", arrived=now - timedelta(days=9), expires=now - timedelta(days=4)),
        _aged(State.RETRY, "beside.test", attempts=1, due=now + timedelta(milliseconds=100)),
    ):
        sent_headers, payload = entry.message()
        plain = headers(**{name.replace("-", "_"): value for name, value in sent_headers.items()})
        await put(server.port, entry.subject.encode(), Garbage(plain, payload))  # no schedule: it is forgotten
    await _submit(system, "bob@beside.test")
    await _submit(system, "bob@nobody.test")
    await system.scale_delivery(1)

    await dest.received_all(3)
    await home.received_all(1)  # of nobody.test; me@home.test gets the DSN about late.test
    total = sum(counts.values())

    async def only_held() -> bool:
        return await system.depth() == {"held": total}

    await eventually_asked(only_held, f"{total} are held, and all else is done")
    await _the_operator_deals_with_it(system, tmp_path, total)
    held_by = dict.fromkeys(LIVE, 0.0)
    for service in (system.delivery[0], system.bouncer):
        for state in LIVE:
            held_by[state] += await service.metric("jetpost_queue_unreadable_total", state=state.value)
    assert held_by == counts


async def _the_operator_deals_with_it(system: System, tmp_path: Path, total: int) -> None:
    status, printed = await system.command("queue")
    assert (status, "unreadable" in printed) == (0, True), printed
    status, printed = await system.command("queue", "list", "--json", "--state", "held", "--limit", "10000")
    listed = json.loads(printed)
    assert (status, len(listed)) == (0, total)
    assert all(entry.get("unreadable") or entry.get("reason") for entry in listed)
    names = [entry["queue_id"] for entry in listed]
    one = "ready-not-json"
    assert one in names

    for words in (("show", one), ("show", one, "--json"), ("show", names[-1])):
        status, printed = await system.command("queue", *words)
        assert status == 0, printed
    status, printed = await system.command("queue", "export", one)
    exported = json.loads(printed)
    assert status == 0
    assert base64.b64decode(exported["payload"]) == KINDS["not-json"].payload
    assert b"Jetpost-Envelope: hello\r\n" in base64.b64decode(exported["headers"])

    status, printed = await system.command("queue", "release", one)
    assert (status, "cannot be read" in printed) == (1, True), printed
    archive = str(tmp_path / "backup.tar")
    status, printed = await system.command("queue", "backup", archive)
    assert (status, printed) == (0, f"{total} entries backed up\n")
    status, printed = await system.command("queue", "delete", *names)
    assert status == 0, printed
    assert await system.depth() == {}
    status, printed = await system.command("queue", "restore", archive)
    assert status == 0, printed
