"""A service opens its connection, its queue and its events; wherever that ends, what was opened is closed again."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import bouncer.service
import delivery.service
import ingress.service
from jetpost.cli.reach import changing, looking
from jetpost.config.load import SHARED, Settings, load
from jetpost.config.refused import Unsafe
from jetpost.jetstream.errors import Unreachable
from jetpost.process.context import service_context
from jetpost.process.run import Lifecycle, Stopped
from jetpost.up.probe import free_port
from tests.fixtures.eventually import eventually_asked
from tests.fixtures.nats import NatsServer

SERVICES = {"ingress": ingress.service.serve, "delivery": delivery.service.serve, "bouncer": bouncer.service.serve}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with NatsServer(tmp_path) as server:
        yield server


def configured(server: NatsServer, monitoring: str | None = None, *sections: str) -> Settings:
    """The configuration of a service; `monitoring` is the URL of the server's own, or `""` for none."""
    url = server.monitoring_url if monitoring is None else monitoring
    environ = {
        "JETPOST_HOSTNAME": "jetpost.test",
        "JETPOST_NATS__SERVERS": f"['{server.url}']",
        "JETPOST_NATS__MONITORING": f"['{url}']" if url else "[]",
        "JETPOST_NATS__REQUEST_TIMEOUT_S": "2",
        "JETPOST_QUEUE__STORE_PROTECTED": "true",
        "JETPOST_EVENTS__FLUSH_S": "0.01",
    }
    return load(None, environ, sections=(*SHARED, *sections))


@asynccontextmanager
async def nothing_left(server: NatsServer) -> AsyncIterator[None]:
    """After the block there is neither a task that it began nor a connection to the server."""
    before = asyncio.all_tasks()
    yield

    async def is_alone() -> bool:
        connections = await server.monitor("connz")
        return connections is None or connections["num_connections"] == 0

    assert {task.get_name() for task in asyncio.all_tasks() - before} == set()
    await eventually_asked(is_alone, "no connection is left")


async def told_to_stop(lifecycle: Lifecycle, serving: Awaitable[None], reason: str) -> None:
    """Run `serving`, and tell it to stop once it waits for `reason`."""
    running = asyncio.ensure_future(serving)

    async def waits() -> bool:
        return reason in lifecycle.obstacles().get("process", "") or running.done()

    await eventually_asked(waits, reason)
    lifecycle.stopping.set()
    await running


@pytest.mark.parametrize("service", SERVICES)
async def test_a_queue_that_is_refused(server: NatsServer, service: str) -> None:
    """The connection stands, the queue would not keep its promise."""
    async with nothing_left(server):
        with pytest.raises(Unsafe, match="monitoring"):
            await SERVICES[service](configured(server, "", service), Lifecycle())


@pytest.mark.parametrize("service", SERVICES)
async def test_a_stop_while_nothing_answers_yet(server: NatsServer, service: str) -> None:
    await server.kill()
    lifecycle = Lifecycle()
    async with nothing_left(server):
        with pytest.raises(Stopped):
            await told_to_stop(
                lifecycle, SERVICES[service](configured(server, None, service), lifecycle), "cannot connect"
            )


@pytest.mark.parametrize("service", SERVICES)
async def test_a_stop_while_the_queue_waits(server: NatsServer, service: str) -> None:
    """The connection stands, whether the server fsyncs is not known yet."""
    lifecycle = Lifecycle()
    settings = configured(server, f"http://127.0.0.1:{free_port()}", service)
    async with nothing_left(server):
        with pytest.raises(Stopped):
            await told_to_stop(lifecycle, SERVICES[service](settings, lifecycle), "waiting until a nats-server tells")


async def test_an_error_in_the_block(server: NatsServer) -> None:
    async with nothing_left(server):
        with pytest.raises(LookupError):
            async with service_context(configured(server), Lifecycle(), "test"):
                raise LookupError


async def test_a_server_that_dies_in_the_block(server: NatsServer) -> None:
    async with nothing_left(server), service_context(configured(server), Lifecycle(), "test"):
        await server.kill()


async def test_a_part_that_cannot_be_closed(server: NatsServer) -> None:
    """What was opened before it is closed all the same."""

    class Stuck:
        async def stop(self) -> None:
            raise LookupError

    async with nothing_left(server):
        with pytest.raises(LookupError):
            async with service_context(configured(server), Lifecycle(), "test") as context:
                context.queue._consumers.append(Stuck())  # type: ignore[arg-type]


@pytest.mark.parametrize("passes", [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987])
async def test_a_cancellation_in_the_middle(server: NatsServer, passes: int) -> None:
    """After any number of passes through the event loop: in the connection, the provisioning, the open block."""

    async def serving() -> None:
        async with service_context(configured(server), Lifecycle(), "test"):
            await asyncio.Event().wait()

    async with nothing_left(server):
        running = asyncio.create_task(serving())
        for _ in range(passes):
            await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


@pytest.mark.parametrize("command", [looking, changing])
async def test_a_command(
    server: NatsServer, command: Callable[..., contextlib.AbstractAsyncContextManager[object]]
) -> None:
    async with nothing_left(server):
        with pytest.raises(LookupError):
            async with command(configured(server)):
                raise LookupError
    if command is changing:
        async with nothing_left(server):
            with pytest.raises(Unsafe):
                await command(configured(server, "")).__aenter__()
    await server.kill()
    async with nothing_left(server):
        with pytest.raises(Unreachable):
            await command(configured(server)).__aenter__()
