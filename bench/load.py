"""The load: Postfix's own tools smtp-source, which sends, and smtp-sink, which counts what arrives."""

import asyncio
import re
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import NamedTuple, Self

from bench.postfix import found
from bench.side import Way
from jetpost.up.probe import free_port

PATIENCE_S = 300
_SINK_CONNECTIONS = 256
_COUNTED = re.compile(rb"mesg=([0-9]+)")


class Load(NamedTuple):
    """What is sent."""

    messages: int
    sessions: int = 20
    size: int = 2048
    """Of a message's body."""
    kept: bool = False
    """Whether a session keeps its connection, or makes a new one for each message."""


async def send(host: str, port: int, load: Load) -> None:
    """Send it; returns when the last message has its 250. RuntimeError: something was not accepted."""
    process = await asyncio.create_subprocess_exec(
        *(found("smtp-source"), "-M", "client.test", "-f", "sender@home.test", "-t", "user@dest.test"),
        *("-s", str(load.sessions), "-m", str(load.messages), "-l", str(load.size)),
        *(["-d"] if load.kept else []),
        f"inet:{host}:{port}",
        stderr=PIPE,
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            _, told = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode or told:
        raise RuntimeError(f"smtp-source ended with {process.returncode}: {told.decode()}")


class Sink:
    """A destination that takes everything, while the block runs."""

    way = Way.PLAIN
    wrong = 0
    ca_file = Path()

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host = host
        self.port = free_port()
        self.received = 0
        """Messages whose final dot was answered with 250."""
        self._news = asyncio.Condition()

    async def wait_for(self, count: int) -> None:
        """Return as soon as `count` messages have arrived. TimeoutError: they do not come."""
        async with asyncio.timeout(PATIENCE_S), self._news:
            await self._news.wait_for(lambda: self.received >= count)

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *(found("smtp-sink"), "-c", "-u", "nobody", "-m", str(_SINK_CONNECTIONS)),
            *(f"inet:{self.host}:{self.port}", str(_SINK_CONNECTIONS)),
            stdout=PIPE,
        )
        self._counting = asyncio.create_task(self._count())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.terminate()
        await self._process.wait()
        await self._counting

    async def _count(self) -> None:
        """Follow the running counter that `smtp-sink -c` prints, `sess=… quit=… mesg=…`."""
        assert self._process.stdout is not None
        while text := await self._process.stdout.read(65536):
            if counts := _COUNTED.findall(text):
                async with self._news:
                    # A read may end in the middle of a number: the count only grows.
                    self.received = max(self.received, int(counts[-1]))
                    self._news.notify_all()
