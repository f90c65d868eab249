"""`jetpost up` on a nats-server that deletes what it cannot open: it never gets to, or what it deleted is put back."""

import os
import shutil
from pathlib import Path

import pytest
import pytest_asyncio

from jetpost.mail.content import Reference
from jetpost.queue.integrity.made import RUNBOOK as MISSING
from jetpost.queue.queue import Committed
from jetpost.store.check import RUNBOOK as CLOSED
from jetpost.up import state
from jetpost.up.nats import nats_server, recovery
from jetpost.up.streams import Seen
from tests.fixtures.one_queue import OneQueue, queued
from tests.fixtures.queue import fresh
from tests.fixtures.store_faults import FAULTS, Fault, a_file_for_a_folder, a_folder_for_a_file, no_configuration

COUNT = 20


@pytest.fixture(autouse=True)
def packaged(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server that came with this installation, and no newer one."""
    monkeypatch.setenv("PATH", "/nonexistent")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[str]]:
    """A data folder with entries in it, and their queue ids."""
    data = tmp_path_factory.mktemp("filled") / "data"
    async with OneQueue(data).serving() as queue:
        writer = queue.content.writer("large")
        await writer.write(bytes(300_000))
        content: Reference = await writer.finish()
        stored = [fresh(), *(fresh(content=content) for _ in range(COUNT))]
        for entry in stored:
            assert await queue.enqueue([entry]) == Committed()
    return data, {entry.queue_id for entry in stored}


@pytest.fixture
def data(filled: tuple[Path, set[str]], tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(filled[0], tmp_path / "data", ignore_dangling_symlinks=True))


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_store_that_cannot_be_opened_is_not_touched(
    fault: Fault, data: Path, filled: tuple[Path, set[str]]
) -> None:
    one = OneQueue(data)
    undo = fault(one.streams)

    reason = await one.refusal()

    assert str(one.streams) in reason
    assert CLOSED in reason
    undo()
    async with OneQueue(data).serving() as queue:
        assert await queued(queue) == filled[1]


@pytest.mark.parametrize("fault", [a_file_for_a_folder, a_folder_for_a_file, no_configuration])
async def test_what_the_server_deletes_for_a_fault_that_nobody_knows_is_put_back(
    fault: Fault,
    data: Path,
    filled: tuple[Path, set[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = OneQueue(data)
    undo = fault(one.streams)
    with monkeypatch.context() as patched:
        patched.setattr(recovery, "faults", lambda _: [])

        reason = await one.refusal()

    assert "stream MAIL" in reason
    assert MISSING in reason
    undo()
    async with OneQueue(data).serving() as queue:
        assert await queued(queue) == filled[1]


async def test_a_queue_that_was_there_does_not_start_empty(data: Path, filled: tuple[Path, set[str]]) -> None:
    """Without a fault in the files: they are simply not there, or are those of an older day."""
    one = OneQueue(data)
    known = state.read(data)
    assert known is not None
    assert known.streams["MAIL"] == Seen(last=COUNT + 1, entries=COUNT + 1)
    kept = one.streams.rename(data / "elsewhere")
    assert "stream MAIL is not there any more" in await one.refusal()
    shutil.rmtree(one.streams.parent, ignore_errors=True)
    one.streams.parent.mkdir(parents=True)
    kept.rename(one.streams)
    async with OneQueue(data).serving() as queue:
        assert await queued(queue) == filled[1]
        older = Path(shutil.copytree(data, data.with_name("older")))
        for _ in range(5):
            await queue.enqueue([fresh()])
    shutil.rmtree(one.streams)
    shutil.copytree(OneQueue(older).streams, one.streams, symlinks=True)
    assert f"stream MAIL ends at {COUNT + 1}, and it had {COUNT + 6} already" in await OneQueue(data).refusal()


async def test_an_operator_says_that_the_queue_begins_without_a_stream(data: Path) -> None:
    one = OneQueue(data)
    shutil.move(one.streams / "MAIL", data / "MAIL")
    assert "stream MAIL is not there any more" in await one.refusal()
    async with OneQueue(data, forget=["MAIL"]).serving() as queue:
        assert await queued(queue) == set()
    async with OneQueue(data).serving() as queue:
        assert await queue.enqueue([fresh()]) == Committed()


async def test_a_file_system_without_hard_links_is_said(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    reason = await OneQueue(data).refusal()
    assert "cannot be linked aside" in reason
    assert "hard links" in reason


async def test_the_streams_of_a_killed_server_are_checked_at_its_next_start(
    data: Path, filled: tuple[Path, set[str]]
) -> None:
    one = OneQueue(data)
    async with one.serving() as queue:
        assert await queued(queue) == filled[1]
        undo = a_file_for_a_folder(one.streams)
        assert one.server is not None
        assert one.server.child.pid is not None
        os.kill(one.server.child.pid, 9)
        await one.stopping.wait()
    assert one.server.refused is not None
    assert "MAIL/obs is not a folder" in one.server.refused
    assert (nats_server.store(data) / "jetstream").is_dir()
    undo()
    async with OneQueue(data).serving() as queue:
        assert await queued(queue) == filled[1]
