"""Servers whose monitoring does not answer yet are awaited: a process that starts before them says why, and goes on."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest
import yaml

from jetpost.jetstream.connection import JetStream
from jetpost.jetstream.settings import Nats
from jetpost.queue.provision import durability, monitoring
from jetpost.queue.provision.monitoring import Silent, ask
from jetpost.queue.provision.settings import QueueSettings
from jetpost.queue.queue import Queue
from jetpost.up.probe import free_port, get
from tests.fixtures.certificates import Certificates
from tests.fixtures.eventually import eventually, eventually_asked
from tests.fixtures.nats import NatsServer
from tests.fixtures.process import Service

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.0 200 OK\r\n\r\n"


def saying(data: bytes) -> Answer:
    """Says this and closes."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return answer


async def silence(_: asyncio.StreamWriter) -> None:
    """Never answers."""
    await asyncio.Event().wait()


async def without_end(writer: asyncio.StreamWriter) -> None:
    """Talks on and on."""
    writer.write(OK)
    while True:
        writer.write(b"[" * 65536)
        await writer.drain()


async def drop_by_drop(writer: asyncio.StreamWriter) -> None:
    """Is never idle, and never done."""
    while True:
        writer.write(b"H")
        await writer.drain()
        await asyncio.sleep(0.05)


FAULTS: dict[str, tuple[Answer, str]] = {
    "closes at once": (saying(b""), "no HTTP server"),
    "is silent": (silence, "no answer within"),
    "talks without end": (without_end, "no end"),
    "drips": (drop_by_drop, "no answer within"),
    "is starting": (saying(b"HTTP/1.0 503 Service Unavailable\r\n\r\n"), "it answers 503"),
    "moved": (saying(b"HTTP/1.0 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n"), "it answers 302"),
    "breaks off in its head": (saying(b"HTTP/1.0 200 OK\r\nContent-"), "breaks off"),
    "breaks off in its answer": (saying(OK + b'{"config": {"sync_al'), "breaks off"),
    "is another program": (saying(OK + b"<html></html>"), "no nats-server"),
    "is no object": (saying(OK + b"[1]"), "no nats-server"),
    "is another program with objects": (saying(OK + b"{}"), "no nats-server"),
    "is deep": (saying(OK + b"[" * 100_000), "no nats-server"),
    "is no text": (saying(OK + b'{"version": "\xff\xfe"}'), "breaks off"),
    "speaks another protocol": (saying(b'INFO {"server_id": "x"}\r\n'), "no HTTP server"),
    "has no JetStream yet": (saying(OK + b'{"version": "2.15.3", "disabled": true, "config": {}}'), "does not run"),
    "has no configuration": (saying(OK + b'{"version": "2.15.3", "config": null}'), "does not run"),
}


class Door:
    """A monitoring port that answers as it is told, and when it is mended, as the server behind it."""

    def __init__(self, server: NatsServer) -> None:
        self._server = server
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.answer: Answer | None = None
        self._open: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        self._listening = await asyncio.start_server(self._answer, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listening.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            question = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
            if self.answer is not None:
                await self.answer(writer)
            else:
                answer = await get(self._server.monitoring_port, question)
                assert answer is not None
                writer.write(OK + answer.body.encode())
                await writer.drain()
        except (OSError, EOFError, asyncio.CancelledError):
            pass  # who asked has left, or the test ends
        finally:
            writer.close()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with NatsServer(tmp_path) as server:
        yield server


async def test_whatever_monitoring_answers_first_is_awaited(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitoring, "PATIENCE_S", 0.5)
    async with Door(server) as door:
        jetstream = await JetStream.connect(Nats(servers=(server.url,), monitoring=(door.url,)), "test")
        for fault, (answer, said) in FAULTS.items():
            door.answer = answer
            reasons: list[str] = []
            opening = asyncio.create_task(
                Queue.open(jetstream, QueueSettings(store_protected=True), reasons.append), name=fault
            )
            # On a busy machine an answer may first come too late to be judged.
            await eventually(lambda: any(said in reason for reason in reasons), f"{fault}: {said}")  # noqa: B023
            assert all(f"cannot ask {door.url}" in reason for reason in reasons), fault
            assert not opening.done(), fault
            door.answer = None
            await (await opening).close()
        await jetstream.close()


def troubled(queue: Queue, why: str) -> bool:
    """Whether the queue says that it cannot take mail, and `why`."""
    return why in (queue.trouble() or "")


async def test_nothing_that_a_server_says_raises_while_the_queue_runs(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitoring, "PATIENCE_S", 0.5)
    monkeypatch.setattr(durability, "_AGAIN_S", 0.01)
    monkeypatch.setattr(durability, "_MISSING_AGAIN_S", 0.01)
    odd = {"version": "9" * 5000, "storage": 10**400, "config": {"max_storage": "x", "sync_always": True}}
    async with Door(server) as door:
        nats = Nats(servers=(server.url,), monitoring=(door.url,))
        jetstream = await JetStream.connect(nats, "test")
        queue = await Queue.open(jetstream, QueueSettings(store_protected=True))
        for fault, (answer, said) in FAULTS.items():
            door.answer = answer
            await eventually(partial(troubled, queue, said), f"{fault}: the queue says it")
            door.answer = None
            await eventually(lambda: queue.trouble() is None, f"{fault}: it has passed")
        door.answer = saying(OK + json.dumps(odd).encode())
        assert (await ask(door.url, nats)).room == 0
        await queue.close()
        await jetstream.close()


async def test_a_server_that_cannot_be_asked_is_no_error_of_ours(
    server: NatsServer, certificates: Certificates, tmp_path: Path
) -> None:
    plain = f"https://127.0.0.1:{server.monitoring_port}"
    no_ca = Nats.model_construct(ca_file=tmp_path / "nothing.pem")
    for url, settings in (
        ("http://nowhere.invalid:8222", Nats()),
        (f"http://127.0.0.1:{free_port()}", Nats()),
        (plain, Nats()),
        (plain, no_ca),
        ("http://127.0.0.1:99999999", Nats()),
        ("http://[::1", Nats()),
        ("127.0.0.1:8222", Nats()),
        (f"http://{'x' * 100}.test", Nats()),
    ):
        with pytest.raises(Silent):
            await ask(url, settings)


async def test_a_service_that_starts_before_monitoring_says_why_it_waits_and_goes_on(
    server: NatsServer, tmp_path: Path
) -> None:
    door = Door(server)
    configuration = tmp_path / "jetpost.yaml"
    nats = {"servers": [server.url], "monitoring": [door.url]}
    said = {"nats": nats, "queue": {"store_protected": True}, "log": {"format": "json"}}
    configuration.write_text(yaml.safe_dump(said))
    service = Service("bouncer", [sys.executable, "-m", "bouncer", "--config", str(configuration)], tmp_path / "log")
    service.launch()
    try:

        async def told() -> bool:
            assert service.exit_status is None, service.log_tail()
            answer = await get(service.http_port, "/readyz")
            return answer is not None and answer.status == 503 and f"cannot ask {door.url}" in answer.body

        await eventually_asked(told, "readyz says why")
        assert any(f"cannot ask {door.url}" in line.get("error", "") for line in service.log_lines())
        async with door:
            await service.ready()
            assert await service.stop() == 0
    finally:
        await service.kill()
