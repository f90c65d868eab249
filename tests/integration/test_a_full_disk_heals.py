"""`jetpost up` after its disk was full: the server that keeps the error is restarted once there is room, not before."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from jetpost.mail.content import Inline
from jetpost.queue.queue import Committed, Queue
from jetpost.queue.storage.answer import Unavailable
from jetpost.up.nats import queue_server
from tests.fixtures.eventually import eventually_asked
from tests.fixtures.one_queue import OneQueue, queued
from tests.fixtures.queue import fresh
from tests.fixtures.small_disk import SmallDisk, small_disk


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallDisk]:
    monkeypatch.setattr(queue_server, "_LOOK_S", 0.05)
    monkeypatch.setattr(queue_server, "_LOOKS_A_NOTE", 2)
    with small_disk(tmp_path / "disk", megabytes=16) as disk:
        yield disk


async def takes_mail(queue: Queue, stored: set[str]) -> bool:
    entry = fresh()
    answer = await queue.enqueue([entry])
    if answer == Committed():
        stored.add(entry.queue_id)
    return answer == Committed()


async def fill(queue: Queue, disk: SmallDisk) -> None:
    """Until the server has noticed."""
    disk.fill()

    async def refuses() -> bool:
        return isinstance(await queue.enqueue([fresh(content=Inline(os.urandom(200_000)))]), Unavailable)

    await eventually_asked(refuses, "the server has noticed")


def pid(one: OneQueue) -> int | None:
    assert one.server is not None
    return one.server.child.pid


async def test_a_disk_that_was_full_is_healed_when_there_is_room_and_not_before(disk: SmallDisk) -> None:
    one = OneQueue(disk.folder / "data")
    async with one.serving() as queue:
        stored: set[str] = set()
        for _ in range(10):
            assert await takes_mail(queue, stored)
        await fill(queue, disk)
        before = pid(one)
        for _ in range(20):
            await asyncio.sleep(0.05)
            assert pid(one) == before
            assert stored <= await queued(queue)
        assert not await takes_mail(queue, stored)

        disk.make_room()

        await eventually_asked(lambda: takes_mail(queue, stored), "it takes mail again")
        healed = pid(one)
        assert healed != before
        for _ in range(20):
            await asyncio.sleep(0.05)
            assert await takes_mail(queue, stored)
        assert pid(one) == healed
        assert stored <= await queued(queue)
    assert one.server is not None
    assert one.server.refused is None


async def test_a_server_that_died_on_a_full_disk_takes_mail_once_there_is_room(disk: SmallDisk) -> None:
    """Its limit is from then; and what has to be linked or written before its start may have to wait."""
    one = OneQueue(disk.folder / "data")
    async with one.serving() as queue:
        stored: set[str] = set()
        for _ in range(10):
            assert await takes_mail(queue, stored)
        await fill(queue, disk)
        before = pid(one)
        assert before is not None
        os.kill(before, 9)

        async def runs_again() -> bool:
            assert one.server is not None
            return pid(one) not in {None, before} and await one.server.is_ready()

        await eventually_asked(runs_again, "it runs again")
        disk.make_room()
        await eventually_asked(lambda: takes_mail(queue, stored), "it takes mail again")
        assert stored <= await queued(queue)
    assert one.server is not None
    assert one.server.refused is None
