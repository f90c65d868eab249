"""What others notice of an attack: how long their mail takes, and how the attacked process does."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

from jetpost.up.probe import get
from tests.fixtures.client import RawClient
from tests.fixtures.mx import Mx
from tests.fixtures.process import Service

_CLIENTS = 4
_BETWEEN_S = 0.05
_PROBE_S = 0.1
_PATIENCE_S = 20.0
"""A transaction or a probe that takes longer counts as this long."""
_MIB = 1024 * 1024
_CONTENT = (
    b"From: ann@honest.test\r\nSubject: number %d\r\n\r\n"
    + b"honest mail, 70 bytes a line, and some thirty lines of it.\r\n" * 30
)


class Observed(NamedTuple):
    """What honest clients and the kubelet saw for a while, and what it cost. Times in seconds."""

    messages: int
    p50: float
    p99: float
    livez: float
    """The slowest answer of `/livez`."""
    rss_mib: float
    """The most resident memory of the process."""
    log_bytes: int
    """What it wrote to its log."""


async def observe(service: Service, relay: int, seconds: float, honest: Mx | None = None) -> Observed:
    """Be some honest clients for `seconds`. With `honest`, a message counts when it has arrived there."""
    times: list[float] = []
    probes: list[float] = []
    rss: list[float] = []
    logged = service.log_file.stat().st_size
    until = time.monotonic() + seconds
    async with asyncio.TaskGroup() as tasks:
        for _ in range(_CLIENTS):
            tasks.create_task(_client(relay, until, times, honest))
        tasks.create_task(_probe(service, until, probes, rss))
    times.sort()
    return Observed(
        messages=len(times),
        p50=times[len(times) // 2],
        p99=times[min(int(len(times) * 0.99), len(times) - 1)],
        livez=max(probes),
        rss_mib=max(rss),
        log_bytes=service.log_file.stat().st_size - logged,
    )


_numbers = itertools.count()


async def _client(relay: int, until: float, times: list[float], honest: Mx | None) -> None:
    """Send a message every `_BETWEEN_S`, each on a connection of its own."""
    while time.monotonic() < until:
        began = time.monotonic()
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await _send(relay, f"user{next(_numbers)}", honest)
        except (OSError, EOFError):  # TimeoutError is one
            times.append(_PATIENCE_S)
        else:
            times.append(time.monotonic() - began)
        await asyncio.sleep(_BETWEEN_S)


async def _send(relay: int, user: str, honest: Mx | None) -> None:
    address = f"{user}@dest.test"
    client = await RawClient.connect("127.0.0.1", relay)
    try:
        await client.reply()
        await client.say("EHLO honest.test")
        reply = await client.transact("ann@honest.test", [address], _CONTENT.replace(b"%d", user.encode()))
        if reply.code != 250:
            raise ConnectionError(str(reply))
    finally:
        await client.aclose()
    while honest is not None and not honest.to(address):  # noqa: ASYNC110
        await asyncio.sleep(0.001)


async def _probe(service: Service, until: float, probes: list[float], rss: list[float]) -> None:
    """Ask as the kubelet does, and look at the memory."""
    process = psutil.Process(service.pid)
    while time.monotonic() < until:
        began = time.monotonic()
        answer = await get(service.http_port, "/livez", within_s=_PATIENCE_S)
        took = time.monotonic() - began
        probes.append(took if answer is not None and answer.status == 200 else _PATIENCE_S)
        rss.append(process.memory_info().rss / _MIB)
        await asyncio.sleep(_PROBE_S)


@asynccontextmanager
async def attacking(command: Sequence[str], log_file: Path) -> AsyncIterator[None]:
    """An attacker, as a process, while the block runs."""
    with log_file.open("ab") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
    try:
        yield
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
