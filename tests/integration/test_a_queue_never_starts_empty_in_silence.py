"""Streams that were there are missed: a start stops, a process that runs takes no mail, an operator decides."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from jetpost.config.refused import Unsafe
from jetpost.jetstream import streams
from jetpost.jetstream.connection import JetStream
from jetpost.jetstream.settings import Nats
from jetpost.queue.backup import back_up, restore
from jetpost.queue.integrity import made
from jetpost.queue.integrity.made import RUNBOOK, Made, missing
from jetpost.queue.model.entry import shard_of
from jetpost.queue.model.states import State
from jetpost.queue.queue import Committed, Queue
from jetpost.queue.storage.answer import Unavailable
from tests.fixtures.eventually import eventually
from tests.fixtures.nats import NatsServer
from tests.fixtures.one_queue import queued
from tests.fixtures.process import Service
from tests.fixtures.queue import PLENTY, fresh, opened

LISTED = {"MAIL", "CONTENT"}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with NatsServer(tmp_path) as server:
        yield server


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a server that knows what it will ever know."""
    monkeypatch.setattr(made, "_AGAIN_S", 0.01)
    monkeypatch.setattr(made, "_EVERY_S", 0.05)


def api(queue: Queue) -> JetStream:
    return queue.shards[0].jetstream


async def listed(queue: Queue) -> dict[str, int]:
    """What the note says."""
    note = await Made(api(queue))._read()
    assert note is not None
    streams: dict[str, int] = note.value["streams"]
    return streams


async def lose(server: NatsServer, name: str, *, made_again: bool = False) -> None:
    """Take a stream away behind everybody's back; or leave an empty one of its name, as a cluster does."""
    jetstream = await JetStream.connect(Nats(servers=(server.url,)), "test")
    config = (await jetstream.api(f"STREAM.INFO.{name}"))["config"]
    await jetstream.api(f"STREAM.DELETE.{name}")
    if made_again:
        await jetstream.api(f"STREAM.CREATE.{name}", config)
    await jetstream.close()


@pytest.mark.parametrize("name", ["MAIL", "MAIL-1", "CONTENT", "EVENTS"])
async def test_a_stream_that_is_missing_stops_the_start(server: NatsServer, name: str) -> None:
    async with opened(server, shards=2) as queue:
        await api(queue).api("STREAM.CREATE.EVENTS", {"name": "EVENTS", "subjects": ["events.*"]})
    async with opened(server, shards=2) as queue:
        assert (await listed(queue)).keys() == {"MAIL", "MAIL-1", "CONTENT", "EVENTS"}

    await lose(server, name)

    with pytest.raises(Unsafe, match=f"stream {name} is not there any more; what to do: {re.escape(RUNBOOK)}"):
        async with opened(server, shards=2):
            pass
    jetstream = await JetStream.connect(Nats(servers=(server.url,)), "test")
    assert await Made(jetstream).forget([name, "OTHER"]) == [name]
    await jetstream.close()
    async with opened(server, shards=2) as queue:
        assert await queue.enqueue([fresh()]) == Committed()


async def test_a_stream_that_comes_back_empty_is_missed_by_those_that_run_and_those_that_start(
    server: NatsServer,
) -> None:
    async with opened(server) as queue:
        for _ in range(5):
            assert await queue.enqueue([fresh()]) == Committed()

        async def follows() -> int:
            return (await listed(queue))["MAIL"]

        while await follows() < 5:
            await asyncio.sleep(0.02)
        await lose(server, "MAIL", made_again=True)
        await eventually(lambda: "ends at 0, and it had 5 already" in (queue.trouble() or ""), "it is noticed")
        refused = await queue.enqueue([fresh()])
        assert isinstance(refused, Unavailable)
        assert refused.reply.code == 451
        assert made.MISSING._value.get() == 1
        with pytest.raises(Unsafe, match="stream MAIL ends at 0, and it had 5 already"):
            async with opened(server):
                pass
        await Made(api(queue)).forget(["MAIL"])
        await eventually(lambda: queue.trouble() is None, "the operator has said so")
        assert await queue.enqueue([fresh()]) == Committed()


async def test_a_stream_that_is_away_for_a_moment_is_awaited(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that has just started may not know all of its streams yet."""
    async with opened(server) as queue:
        assert await queue.enqueue([fresh()]) == Committed()
    looks = 0
    ends_at = streams.ends_at

    async def not_yet(jetstream: JetStream, name: str) -> int | None:
        nonlocal looks
        looks += 1
        return None if looks < 5 else await ends_at(jetstream, name)

    monkeypatch.setattr(made, "ends_at", not_yet)
    async with opened(server) as queue:
        assert len(await queued(queue)) == 1


async def test_content_that_is_missing_beside_mail_is_missed_without_a_note(server: NatsServer) -> None:
    async with opened(server) as queue:
        assert await queue.enqueue([fresh()]) == Committed()
    for name in ("CONTENT", "WATCH"):
        await lose(server, name)
    with pytest.raises(Unsafe, match="there is mail, and no stream CONTENT"):
        async with opened(server):
            pass


async def test_a_note_that_is_gone_or_unreadable_is_written_again(server: NatsServer) -> None:
    async with opened(server) as queue:
        assert await queue.enqueue([entry := fresh()]) == Committed()
    await lose(server, "WATCH")
    async with opened(server) as queue:
        assert (await listed(queue)).keys() == LISTED
        for nonsense in (b"", b"[]", b'{"streams": [1]}', b'{"streams": {"MAIL": "x", "CONTENT": null}}'):
            await api(queue).request("watch.streams.made", nonsense)
            async with opened(server):
                assert (await listed(queue)).keys() == LISTED
        assert await queued(queue) == {entry.queue_id}


async def test_raising_the_shards_grows_the_note(server: NatsServer) -> None:
    async with opened(server) as queue:
        early = fresh()
        await queue.enqueue([early])
        async with opened(server, shards=3) as more:
            assert (await listed(more)).keys() == LISTED | {"MAIL-1", "MAIL-2"}
            later = next(entry for entry in iter(fresh, None) if shard_of(entry.queue_id, 3) == 2)
            await more.enqueue([later])
    async with opened(server, shards=3) as queue:
        assert await queued(queue) == {early.queue_id, later.queue_id}
        consumer = await queue.consumer(State.READY, max_claims=10, max_bytes=PLENTY).start()
        for _ in range(2):
            await queue.settle(await anext(consumer), [])
    async with opened(server, shards=1) as queue:
        assert (await listed(queue)).keys() == LISTED | {"MAIL-1", "MAIL-2"}


@pytest.mark.parametrize("round_", range(5))
async def test_a_first_start_of_all_at_once_is_one_queue(server: NatsServer, round_: int) -> None:
    async with AsyncExitStack() as stack:
        queues = await asyncio.gather(*(stack.enter_async_context(opened(server, shards=4)) for _ in range(12)))
        stored = [fresh() for _ in queues]
        for queue, entry in zip(queues, stored, strict=True):
            assert await queue.enqueue([entry]) == Committed()
        assert (await listed(queues[0])).keys() == LISTED | {"MAIL-1", "MAIL-2", "MAIL-3"}
        assert await queued(queues[-1]) == {entry.queue_id for entry in stored}


async def test_a_restored_queue_has_a_note_of_its_own(server: NatsServer, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    async with NatsServer(tmp_path / "other") as elsewhere, opened(server) as queue, opened(elsewhere) as other:
        await queue.enqueue([entry := fresh()])
        with (tmp_path / "queue.tar").open("w+b") as file:
            await back_up(queue, file)
            file.seek(0)
            await restore(other, file)
        assert await queued(other) == {entry.queue_id}
        assert (await listed(other)).keys() == LISTED
        async with opened(elsewhere):
            pass


async def test_a_service_ends_with_the_runbook_and_starts_when_the_operator_has_said_so(
    server: NatsServer, tmp_path: Path
) -> None:
    async with opened(server) as queue:
        assert await queue.enqueue([fresh()]) == Committed()
    await lose(server, "MAIL")
    configuration = tmp_path / "jetpost.yaml"
    nats = {"servers": [server.url], "monitoring": [server.monitoring_url]}
    said = {"nats": nats, "queue": {"store_protected": True}, "log": {"format": "json"}}
    configuration.write_text(yaml.safe_dump(said))
    service = Service("bouncer", [sys.executable, "-m", "bouncer", "--config", str(configuration)], tmp_path / "log")
    service.launch()

    assert await service.gone() == 78

    (refused,) = [line for line in service.log_lines() if line["event"] == "refused to start"]
    assert f"stream MAIL is not there any more; what to do: {RUNBOOK}" in refused["reason"]
    command = [sys.executable, "-m", "jetpost", "queue", "--config", str(configuration), "forget", "MAIL"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert out.decode() == "MAIL is forgotten; the next service that starts creates it again\n"
    await service.start()
    assert await service.stop() == 0


@given(
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 5)),
    st.dictionaries(st.sampled_from("abcd"), st.none() | st.integers(0, 5)),
)
def test_what_is_listed_is_there_with_all_that_it_had_or_is_missed(
    ends: dict[str, int], found: dict[str, int | None]
) -> None:
    reasons = missing(ends, found)
    for name, last in ends.items():
        now = found.get(name)
        assert (name in reasons) == (now is None or now < last)
    assert json.dumps(reasons)
