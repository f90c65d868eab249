"""What no replica answers, or one answers that lags behind, is not the end of the queue."""

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path

import nats
import pytest
import pytest_asyncio
from nats.aio.msg import Msg

from jetpost.jetstream.errors import Unreachable
from jetpost.queue.backup import back_up
from jetpost.queue.maintenance.read_through import Reading
from jetpost.queue.model.states import State
from jetpost.queue.queue import Committed, Queue
from jetpost.queue.storage.shard import StoredEntry
from tests.fixtures.nats import NatsServer
from tests.fixtures.one_queue import queued
from tests.fixtures.queue import fresh, opened

ENTRIES = 20


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with NatsServer(tmp_path) as running:
        yield running


async def filled(queue: Queue) -> set[str]:
    """Entries; their queue ids."""
    entries = [fresh() for _ in range(ENTRIES)]
    assert set(await asyncio.gather(*(queue.enqueue([entry]) for entry in entries))) == {Committed()}
    return {entry.queue_id for entry in entries}


async def without_replicas(queue: Queue) -> None:
    """No server listens for direct gets, as in the moment after an election."""
    jetstream = queue._jetstream
    for stream in ("MAIL", "CONTENT"):
        config = (await jetstream.api(f"STREAM.INFO.{stream}"))["config"]
        await jetstream.api(f"STREAM.UPDATE.{stream}", {**config, "allow_direct": False})


async def test_no_answer_is_no_end(server: NatsServer) -> None:
    async with opened(server) as queue:
        expected = await filled(queue)
        assert await queued(queue) == expected
        await without_replicas(queue)

        with pytest.raises(Unreachable, match="no replica of MAIL answers: status 503"):
            await queued(queue)
        with pytest.raises(Unreachable):
            await back_up(queue, io.BytesIO())


async def test_no_answer_is_no_damage(server: NatsServer) -> None:
    async with opened(server) as queue:
        await filled(queue)
        await without_replicas(queue)

        reading = Reading(queue, queue._jetstream)
        with pytest.raises(Unreachable):
            await reading._read(await reading._begun("MAIL", {}), 10)


@pytest.mark.parametrize(
    "status", [b"NATS/1.0 404 No Results\r\n\r\n", b"NATS/1.0 204 EOB\r\nNats-Num-Pending: 0\r\n\r\n"]
)
async def test_a_replica_that_lags_behind_ends_nothing(server: NatsServer, status: bytes) -> None:
    async with opened(server) as queue:
        expected = await filled(queue)
        shard = queue.shards[0]
        ended = next(iter(expected))
        ((key, sequence),) = [
            (found.entry.key, found.sequence)
            async for found in shard.walk(shard.states())
            if isinstance(found, StoredEntry) and found.entry.queue_id == ended
        ]
        await shard.delete(sequence)
        tombstone = shard.subject(key.replace(".*.", f".{State.DONE.value}."))
        await queue._jetstream.request(tombstone, b"")
        await without_replicas(queue)
        replica = await nats.connect(server.url)
        asked = 0

        async def answer(question: Msg) -> None:
            nonlocal asked
            asked += 1
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            await reader.readline()
            size = len(status)
            writer.write(b'CONNECT {"verbose":false,"headers":true}\r\n')
            writer.write(f"HPUB {question.reply} {size} {size}\r\n".encode() + status + b"\r\nPING\r\n")
            await reader.readuntil(b"PONG\r\n")
            writer.close()

        await replica.subscribe("$JS.API.DIRECT.GET.MAIL", cb=answer)
        await replica.flush()

        assert await queued(queue) == expected - {ended}
        assert asked > 1
        assert await shard.latest(key) is None
        await replica.close()
