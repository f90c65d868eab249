"""A connection to NATS that broke in the middle of a write: it is made again, or closed, and no exception escapes."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest
import uvloop
from nats.aio.transport import TcpTransport

from jetpost.jetstream.connection import JetStream
from jetpost.jetstream.errors import Unreachable
from jetpost.jetstream.settings import Nats
from tests.fixtures.eventually import eventually
from tests.fixtures.nats import NatsServer

LOOPS = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


def on_loop(kind: str, test: Callable[[], Coroutine[None, None, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await test()

    with asyncio.Runner(loop_factory=LOOPS[kind]) as runner:
        runner.run(bounded())


def break_under(jetstream: JetStream) -> None:
    """The transport is closed, and nats-py has not seen that yet."""
    writer(jetstream).transport.abort()


def writer(jetstream: JetStream) -> asyncio.StreamWriter:
    transport = jetstream.nc._transport
    assert isinstance(transport, TcpTransport)
    assert transport._io_writer is not None
    return transport._io_writer


@pytest.mark.parametrize("kind", LOOPS)
@pytest.mark.parametrize("written", [b"", b"x", b"x" * 3_000_000])
def test_it_is_closed_without_an_exception(tmp_path: Path, kind: str, written: bytes) -> None:
    async def run() -> None:
        async with NatsServer(tmp_path) as server:
            jetstream = await JetStream.connect(Nats(servers=(server.url,)), "test")
            break_under(jetstream)
            if written:
                await jetstream.tell("somewhere", written)
            await jetstream.close()
            assert jetstream.nc.is_closed
            assert writer(jetstream).is_closing()

    on_loop(kind, run)


@pytest.mark.parametrize("kind", LOOPS)
@pytest.mark.parametrize("flusher_ends_first", [False, True])
def test_it_is_made_again(tmp_path: Path, kind: str, flusher_ends_first: bool) -> None:
    async def run() -> None:
        async with NatsServer(tmp_path) as server:
            jetstream = await JetStream.connect(Nats(servers=(server.url,)), "test")
            for _ in range(3):
                generation = jetstream.generation
                if flusher_ends_first:
                    assert jetstream.nc._flusher_task is not None
                    jetstream.nc._flusher_task.cancel()
                    await asyncio.sleep(0)
                break_under(jetstream)
                with pytest.raises(Unreachable):
                    await jetstream.request("$JS.API.INFO", b"x" * 100)
                await eventually(lambda: jetstream.generation > generation, "it is connected again")  # noqa: B023 — now
                assert await jetstream.api("INFO")
            await jetstream.close()

    on_loop(kind, run)
