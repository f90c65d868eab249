"""A host that goes away around STARTTLS: a value that says so, on the event loop the processes run on."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from delivery.connect.connection import Connection
from delivery.connect.wire import OPEN
from tests.fixtures.attempts import on_uvloop
from tests.fixtures.eventually import PATIENCE_S, eventually

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def at_once(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def at_the_first_bytes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1000)
    writer.close()


async def at_the_first_bytes_with_a_reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(10)
    writer.transport.abort()


async def with_nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1000)
    writer.write(b"250 what?\r\n")
    writer.close()


async def never(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def secured(closes: Serve, *, already: bool) -> tuple[str | None, bool]:
    """What `secure` says with a host that closes, and whether the connection may still be used."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    loop, over = asyncio.get_running_loop(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await closes(reader, writer)
        finally:
            writer.close()
            over.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        _, connection = await loop.create_connection(partial(Connection, "mx.test"), "127.0.0.1", port)
        if already:
            await eventually(lambda: not connection.is_connected, "the connection is closed")
        async with asyncio.timeout(PATIENCE_S):
            why = await connection.secure(context, 1)
            await over.wait()
        return why, connection.usable


@pytest.mark.parametrize(
    ("closes", "already"),
    [
        (at_once, True),
        (at_once, False),
        (at_the_first_bytes, False),
        (at_the_first_bytes_with_a_reset, False),
        (with_nonsense, False),
        (never, False),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_host_that_goes_away_is_one_without_tls_and_leaves_no_connection_behind(
    closes: Serve, *, already: bool
) -> None:
    before = OPEN._value.get()
    why, usable = on_uvloop(secured(closes, already=already))
    assert why is not None
    assert why.startswith("TLS failed: ")
    assert not usable
    assert OPEN._value.get() == before
