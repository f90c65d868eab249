"""What a stream has lost is told: nobody is ready until an operator says so."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from prometheus_client import REGISTRY

from jetpost.jetstream.errors import ApiError, Unreachable
from jetpost.queue.queue import Committed, Queue
from jetpost.queue.storage.answer import Unavailable
from tests.conftest import MakeSystem
from tests.fixtures.eventually import eventually_asked
from tests.fixtures.nats import NatsServer
from tests.fixtures.process import Service
from tests.fixtures.queue import fresh, opened

ENTRIES = 200
UNACCOUNTED = "jetpost_queue_unaccounted_messages"


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with NatsServer(tmp_path) as running:
        yield running


async def fill(queue: Queue) -> None:
    for _ in range(ENTRIES // 20):
        assert set(await asyncio.gather(*(queue.enqueue([fresh()]) for _ in range(20)))) == {Committed()}
    for _ in range(3):  # what is noted was seen a look before
        await queue._keeper.look()


def block(server: NatsServer, stream: str = "MAIL") -> Path:
    """The only block of a stream."""
    (found,) = server._store.rglob(f"{stream}/msgs/*.blk")
    return found


def truncated(file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * 0.775)])


def flipped(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)


def emptied(file: Path) -> None:
    file.write_bytes(b"")


DAMAGES = [truncated, flipped, emptied]


@pytest.mark.parametrize("how", ["stop", "kill"])
@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_block_is_told_until_it_is_acknowledged(
    server: NatsServer, damage: Callable[[Path], None], how: str
) -> None:
    async with opened(server) as queue:
        await fill(queue)
    await (server.stop() if how == "stop" else server.kill())
    damage(block(server))
    await server.start()

    async with opened(server) as queue:
        left = [stored async for stored in queue.shards[0].walk("mail.*.*.*")]
        await queue._keeper.look()
        if damage is emptied and how == "stop":  # the server says nothing, but there were more when it was stopped
            assert REGISTRY.get_sample_value(UNACCOUNTED, {"stream": "MAIL"}) == ENTRIES - len(left) - 10
            return
        assert "MAIL has lost messages" in str(queue.trouble())
        assert "store-has-lost" in str(queue.trouble())
        assert isinstance(await queue.enqueue([fresh()]), Unavailable)
    await server.restart()
    async with opened(server) as queue, opened(server) as other:  # it is not forgotten
        assert "MAIL has lost messages" in str(queue.trouble())
        assert "MAIL has lost messages" in str(other.trouble())


async def test_the_services_say_so_and_an_operator_ends_it(make_system: MakeSystem) -> None:
    system = await make_system(delivery=1)
    (server,) = system.servers
    async with opened(server) as queue:
        await system.delivery[0].stop()
        await fill(queue)
    await server.kill()
    truncated(block(server))
    await server.start()

    async def says_why(service: Service) -> bool:
        return "has lost messages" in await service.obstacles()

    async def is_told() -> bool:
        return all([await says_why(service) for service in (*system.ingress, system.bouncer)])

    await eventually_asked(is_told, "every service says that messages are lost")
    assert await system.bouncer.metric("jetpost_queue_loss", stream="MAIL") == 1
    status, printed = await system.command("queue", "acknowledge-loss")
    assert (status, "MAIL" in printed) == (0, True)
    for service in (*system.ingress, system.bouncer):
        await service.ready()
    assert await system.bouncer.metric("jetpost_queue_loss") == 0
    status, printed = await system.command("queue", "acknowledge-loss")
    assert status == 1
    await system.delivery[0].start()


async def test_a_restart_and_mail_that_goes_are_no_loss(server: NatsServer) -> None:
    async with opened(server) as queue:
        await fill(queue)
        for _ in range(3):
            await queue._jetstream.api("STREAM.PURGE.MAIL", {"keep": 100})
            await server.restart()
            await eventually_asked(lambda: _looked(queue), "the queue is there again")
            assert queue._keeper.trouble is None
    await server.kill()
    await server.start()
    async with opened(server) as queue:
        assert queue._keeper.trouble is None


async def _looked(queue: Queue) -> bool:
    try:
        await queue._keeper.look()
    except (Unreachable, ApiError):
        return False
    return True
