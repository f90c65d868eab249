"""The queue as a file, and back: on other servers, with other shards, twice, cut off, damaged."""

import io
import tarfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from jetpost.mail.content import Content, Reference
from jetpost.mail.envelope import Recipient
from jetpost.queue.backup import Archive, Restored, Unusable, back_up, restore
from jetpost.queue.listing import depth, entries
from jetpost.queue.model.entry import Entry
from jetpost.queue.model.states import State
from jetpost.queue.queue import Queue
from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.letters import LETTER
from tests.fixtures.nats import NatsServer
from tests.fixtures.queue import fresh, opened

LATER = datetime.now(UTC) + timedelta(days=2)
LARGE = bytes(range(256)) * 2000
STATES: dict[State, dict[str, Any]] = {
    State.READY: {},
    State.PARKED: {},
    State.RETRY: {"due": LATER},
    State.BOUNCE: {},
    State.HELD: {"reason": "by hand"},
}


@pytest_asyncio.fixture(loop_scope="session")
async def other_server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """Where a backup goes."""
    folder = tmp_path / "other"
    folder.mkdir()
    server = NatsServer(folder)
    server.launch()
    await server.healthy()
    yield server
    await server.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """Where a backup comes from."""
    server = NatsServer(tmp_path)
    server.launch()
    await server.healthy()
    yield server
    await server.stop()


async def fill(queue: Queue) -> list[Entry]:
    """An entry in every state, and two that share a large content."""
    writer = queue.content.writer("large")
    await writer.write(LARGE)
    content = await writer.finish()
    stored = [
        *(in_state(state, fresh(f"{state}.test")) for state in STATES),
        fresh("one.test", content),
        fresh("two.test", content),
    ]
    for entry in stored:
        await queue.enqueue([entry])
    return stored


def in_state(state: State, entry: Entry) -> Entry:
    """The entry as it lies there."""
    if state is State.READY:
        return entry
    if state is State.HELD:
        return entry.moved(State.PARKED).moved(state, **STATES[state])
    return entry.moved(state, **STATES[state])


async def in_queue(queue: Queue) -> list[Entry]:
    """Everything, in an order of its own."""
    return sorted((found.entry for _, found in await entries(queue, limit=1000)), key=lambda entry: entry.subject)


async def data(queue: Queue, content: Content) -> bytes:
    return b"".join([chunk async for chunk in queue.content.chunks(content)])


async def taken(queue: Queue) -> io.BytesIO:
    """A backup."""
    file = io.BytesIO()
    await back_up(queue, file)
    file.seek(0)
    return file


async def test_every_state_and_content_comes_back_on_other_servers(
    server: NatsServer, other_server: NatsServer
) -> None:
    async with opened(server) as queue, opened(other_server, shards=3) as other:
        stored = await fill(queue)

        done = await restore(other, await taken(queue))

        assert done == Restored(len(stored), 0)
        assert await in_queue(other) == sorted(stored, key=lambda entry: entry.subject)
        for entry in await in_queue(other):
            if isinstance(entry.content, Reference):
                assert await data(other, entry.content) == LARGE


async def test_restoring_again_changes_nothing(server: NatsServer, other_server: NatsServer) -> None:
    async with opened(server) as queue, opened(other_server) as other:
        stored = await fill(queue)
        file = await taken(queue)
        await restore(other, file)
        file.seek(0)

        assert await restore(other, file) == Restored(0, len(stored))
        assert await in_queue(other) == await in_queue(queue)


async def test_the_later_state_of_what_moved_meanwhile_counts(server: NatsServer) -> None:
    first = fresh()
    later = first.moved(State.RETRY, due=LATER, attempts=1).for_recipients((Recipient("left@dest.test"),))
    file = io.BytesIO()
    archive = Archive(file)
    archive.entry(first)
    archive.entry(later, again=True)
    archive.finish()
    file.seek(0)
    async with opened(server) as queue:
        assert await restore(queue, file) == Restored(1, 0)
        assert await in_queue(queue) == [later]


async def test_what_was_due_meanwhile_is_ready(server: NatsServer) -> None:
    overdue = fresh().moved(State.RETRY, due=datetime.now(UTC) - timedelta(days=1))
    file = io.BytesIO()
    archive = Archive(file)
    archive.entry(overdue)
    archive.finish()
    file.seek(0)
    async with opened(server) as queue:
        await restore(queue, file)
        consumer = await queue.consumer(State.READY, max_claims=1, max_bytes=10**6).start()
        assert (await anext(consumer)).entry.queue_id == overdue.queue_id


async def test_a_cut_off_backup_is_told_and_the_whole_one_completes_it(
    server: NatsServer, other_server: NatsServer
) -> None:
    async with opened(server) as queue, opened(other_server) as other:
        stored = await fill(queue)
        whole = (await taken(queue)).getvalue()
        for end in (whole.index(b"end.json"), whole.index(b"entries/"), whole.index(LARGE[:256]) + 1000):
            with pytest.raises(Unusable, match="cut off"):
                await restore(other, io.BytesIO(whole[:end]))

        await restore(other, io.BytesIO(whole))

        assert len(await in_queue(other)) == len(stored)
        for entry in await in_queue(other):
            if isinstance(entry.content, Reference):
                assert await data(other, entry.content) == LARGE


async def test_a_flipped_bit_is_found(server: NatsServer, other_server: NatsServer) -> None:
    async with opened(server) as queue, opened(other_server) as other:
        await fill(queue)
        damaged = bytearray((await taken(queue)).getvalue())
        damaged[damaged.index(LARGE[:256]) + 7] ^= 1
        with pytest.raises(Unusable, match="damaged at content/large/"):
            await restore(other, io.BytesIO(damaged))
        assert (await depth(other)).by_state == {}


@pytest.mark.parametrize("data", [b"", b"no archive at all", b"\0" * 10240])
async def test_what_is_no_backup_is_refused(server: NatsServer, data: bytes) -> None:
    async with opened(server) as queue:
        with pytest.raises(Unusable, match="no backup"):
            await restore(queue, io.BytesIO(data))


async def test_a_strange_tar_and_a_newer_format_are_refused(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    strange = io.BytesIO()
    with tarfile.open(fileobj=strange, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("holiday.jpg"))
    strange.seek(0)
    monkeypatch.setattr("jetpost.queue.backup.FORMAT", 2)
    newer = io.BytesIO()
    Archive(newer).finish()
    newer.seek(0)
    monkeypatch.undo()
    async with opened(server) as queue:
        with pytest.raises(Unusable, match="no backup"):
            await restore(queue, strange)
        with pytest.raises(Unusable, match="newer Jetpost"):
            await restore(queue, newer)


async def test_a_lost_cluster_goes_on_elsewhere(make_system: MakeSystem, mx: MakeMx, tmp_path: Path) -> None:
    lost = await make_system(delivery=0)
    dest = await mx("restored.test")
    large = LETTER + (b"x" * 70 + b"\r\n") * 10000
    for content in (LETTER, large):
        assert (await lost.submit("ann@home.test", ["bob@restored.test"], content)).code == 250
    file = str(tmp_path / "queue.tar")
    assert await lost.command("queue", "backup", file) == (0, "2 entries backed up\n")
    assert await lost.command("queue", "backup", str(tmp_path / "nowhere/queue.tar")) == (
        1,
        f"{tmp_path}/nowhere/queue.tar: No such file or directory\n",
    )

    fresh_system = await make_system({"queue.shards": 2})
    assert await fresh_system.command("queue", "restore", file) == (0, "2 entries restored, 0 were there already\n")

    await dest.received_all(2)
    assert sorted(len(message.content) for message in dest.messages)[1] > len(large)
    await fresh_system.empty()
