"""One nats-server of three has no room: mail is taken and read all the same, whoever is connected to which server."""

import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from jetpost.jetstream.connection import JetStream
from jetpost.jetstream.errors import ApiError, Unreachable
from jetpost.jetstream.settings import Nats
from jetpost.mail.content import Content, Reference
from jetpost.queue.provision.settings import QueueSettings
from jetpost.queue.queue import Committed, Queue
from tests.fixtures.eventually import eventually_asked
from tests.fixtures.nats import NatsCluster, NatsServer
from tests.fixtures.queue import fresh

BYTES = 1024 * 1024
FULL_WITH = "max_file: 6MB"
PIECE = b"x" * 65_536


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[NatsCluster]:
    async with NatsCluster(tmp_path, limits={0: FULL_WITH}) as cluster:
        yield cluster


async def test_large_messages_are_taken_and_read_by_who_is_connected_to_a_full_server(cluster: NatsCluster) -> None:
    full, *others = cluster.servers
    async with AsyncExitStack() as stack:
        beside = await stack.enter_async_context(connected(others, cluster))
        await lead(beside, full)
        contents = [await taken(beside) for _ in range(10)]
        await eventually_asked(lambda: _is_full(full), "it is full")

        queue = await stack.enter_async_context(connected([full, *others], cluster))
        await move(queue, full)
        contents.append(await taken(queue))

        for content in (contents[0], contents[-2], contents[-1]):
            assert sum([len(chunk) async for chunk in queue.content.chunks(content)]) == BYTES


async def taken(queue: Queue) -> Content:
    """A large message is taken, as soon as the cluster has its leaders (clients try again after a 451); its content."""
    entry = fresh()
    writer = queue.content.writer(entry.queue_id)
    for _ in range(BYTES // len(PIECE)):
        await writer.write(PIECE)
    content = await writer.finish()
    assert isinstance(content, Reference)
    message = fresh(content=content)

    async def committed() -> bool:
        return await queue.enqueue([message]) == Committed()

    await eventually_asked(committed, "the message is taken")
    return content


async def move(queue: Queue, server: NatsServer) -> None:
    """Let a client be connected to a server."""

    async def is_there() -> bool:
        url = queue._jetstream.nc.connected_url
        if url is not None and url.port == server.port:
            return True
        await queue._jetstream.nc.force_reconnect()
        return False

    await eventually_asked(is_there, f"it is connected to {server.name}")


async def lead(queue: Queue, server: NatsServer) -> None:
    """Let a server lead the contents."""

    async def leads() -> bool:
        with contextlib.suppress(Unreachable, ApiError):  # while one is chosen
            about = await queue._jetstream.api("STREAM.INFO.CONTENT")
            if about["cluster"].get("leader") == server.name:
                return True
            await queue._jetstream.api("STREAM.LEADER.STEPDOWN.CONTENT", {"placement": {"preferred": server.name}})
        return False

    await eventually_asked(leads, f"{server.name} leads the contents")


async def _is_full(server: NatsServer) -> bool:
    about = await server.monitor("jsz?config=true")
    return about is not None and about["storage"] >= about["config"]["max_storage"]


@asynccontextmanager
async def connected(servers: list[NatsServer], cluster: NatsCluster) -> AsyncIterator[Queue]:
    """One process's view of the queue, connected to the first of `servers`; the others are known."""
    nats = Nats(
        servers=tuple(server.url for server in servers),
        monitoring=tuple(server.monitoring_url for server in cluster.servers),
        request_timeout_s=2,
    )
    jetstream = await JetStream.connect(nats, "test")
    try:
        settings = {"replicas": 3, "store_protected": True}
        queue = await Queue.open(jetstream, QueueSettings.model_validate(settings))
        try:
            yield queue
        finally:
            await queue.close()
    finally:
        await jetstream.close()
