"""A record that has gone bad on the disk is found by the reading of all, on a real nats-server."""

import random
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from jetpost.mail.content import Inline
from jetpost.queue.maintenance.read_through import Progress, Reading
from jetpost.queue.model.states import State
from jetpost.queue.queue import Committed, Queue
from jetpost.queue.storage.shard import StoredEntry
from tests.conftest import MakeSystem
from tests.fixtures.eventually import eventually_asked
from tests.fixtures.nats import NatsServer
from tests.fixtures.queue import fresh, opened

ENTRIES = 60


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with NatsServer(tmp_path) as running:
        yield running


def words(number: int) -> bytes:
    return f"this is number {number:06d}".encode()


async def fill(queue: Queue, deleted: set[int]) -> None:
    """Entries with the sequences 1, 2, …, without some."""
    for number in range(1, ENTRIES + 1):
        assert await queue.enqueue([fresh(content=Inline(b"Subject: x\r\n\r\n" + words(number)))]) == Committed()
    for sequence in deleted:
        await queue.shards[0].delete(sequence)


def spoil(server: NatsServer, numbers: set[int]) -> None:
    """Flip a bit in the bytes of these messages."""
    (file,) = server._store.rglob("MAIL/msgs/*.blk")
    data = bytearray(file.read_bytes())
    for number in numbers:
        data[data.rindex(words(number))] ^= 1  # its entry may have moved
    file.write_bytes(data)


async def read_all(queue: Queue) -> Progress:
    """From the beginning to the end of all streams."""
    reading = Reading(queue, queue._jetstream)
    progress = await reading._begun("MAIL", {})
    for _ in range(20):
        progress = await reading._read(progress, 10)
        if not progress.stream:
            return progress
    raise AssertionError(f"it does not come to an end: {progress}")


CASES = [
    (set(), set()),
    ({30}, set()),
    ({1}, set()),
    ({ENTRIES}, set()),
    ({30}, set(range(20, 30)) | set(range(31, 50))),
    ({30}, set(range(31, ENTRIES + 1))),
    ({1, 2}, set(range(3, ENTRIES + 1))),
    ({ENTRIES - 1, ENTRIES}, set(range(20, 40))),
    ({ENTRIES}, set(range(1, ENTRIES))),
    (set(), set(range(1, ENTRIES + 1))),
    (set(), set(range(10, 40))),
    ({10, 40}, set()),
    ({10, 11}, set()),
]


@pytest.mark.parametrize(("bad", "deleted"), CASES)
async def test_what_is_damaged_is_counted(server: NatsServer, bad: set[int], deleted: set[int]) -> None:
    async with opened(server) as queue:
        await fill(queue, deleted)
    await server.stop()
    spoil(server, bad)
    await server.start()
    async with opened(server) as queue:
        assert (await read_all(queue)).damaged == {"MAIL": len(bad), "CONTENT": 0}


async def test_nothing_is_found_where_nothing_is_wrong(server: NatsServer) -> None:
    draw = random.Random(7)
    async with opened(server) as queue:
        await fill(queue, set(draw.sample(range(1, ENTRIES + 1), ENTRIES // 2)))
        await server.restart()
        await eventually_asked(lambda: _can_ask(queue), "the server is back")
        assert (await read_all(queue)).damaged == {"MAIL": 0, "CONTENT": 0}


async def _can_ask(queue: Queue) -> bool:
    return queue._jetstream.connected


async def test_it_is_read_by_one_process_at_a_time_and_goes_on_where_another_stopped(server: NatsServer) -> None:
    async with opened(server, read_through_s=0.001) as one, opened(server, read_through_s=0.001) as other:
        await fill(one, set())
        readings = [Reading(queue, queue._jetstream) for queue in (one, other)]
        notes = [await eventually_asked(partial(at.turn, 0), "its turn") for at in (*readings, *readings)]
        assert [progress.stream for progress in notes] == ["CONTENT", "", "CONTENT", ""]
    async with opened(server) as queue:  # read a moment ago
        assert await Reading(queue, queue._jetstream).turn(10) is None


async def test_the_services_find_it_and_show_it(make_system: MakeSystem) -> None:
    system = await make_system({"queue.read_through_s": 2}, delivery=0)
    (server,) = system.servers
    async with opened(server) as queue:
        await fill(queue, set())
        async for stored in queue.shards[0].walk("mail.ready.*.*"):  # where no delivery takes it
            assert isinstance(stored, StoredEntry)
            assert await queue.move(queue.shards[0], stored, [stored.entry.moved(State.HELD)])
    await server.stop()
    spoil(server, {30})
    await server.start()
    await system.scale_delivery(1)

    async def is_shown() -> bool:
        return await system.delivery[0].metric("jetpost_queue_damaged_messages", stream="MAIL") == 1

    await eventually_asked(is_shown, "delivery shows the damaged message")
