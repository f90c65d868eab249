"""The whole system on one machine: nats-server, ingress, delivery and bouncer as real processes under one parent."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import NoReturn

import msgspec

from jetpost.process.signals import obey_signals
from jetpost.reason import reason_of
from jetpost.telemetry.log import logger
from jetpost.up import state
from jetpost.up.children import Child
from jetpost.up.nats import nats_server
from jetpost.up.nats.queue_server import QueueServer
from jetpost.up.nats.recovery import Refused
from jetpost.up.probe import free_port, get
from jetpost.up.settings import Up
from jetpost.up.streams import Seen

_POLL_S = 0.05

log = logger(__name__)


class System:
    """The processes, in the order in which they start; they stop in the opposite order."""

    def __init__(
        self, data: Path, config: Path, settings: Up, tell: Callable[[str], None], forget: Collection[str] = ()
    ) -> None:
        self._data = data
        self._config = config
        self._settings = settings
        self._tell = tell
        self._stopping = asyncio.Event()
        self._running = nats_server.planned(settings, state.read(data), config, forget)
        self._nats = QueueServer(
            data,
            self._running,
            settings,
            changed=self._write_state,
            remember=self._remember,
            stopping=self._stopping,
            forget=forget,
        )
        names = [
            *(f"ingress-{number}" for number in range(1, settings.ingress + 1)),
            *(f"delivery-{number}" for number in range(1, settings.delivery + 1)),
            "bouncer",
        ]
        self._http_ports = {
            name: settings.http_port + index if settings.http_port else free_port() for index, name in enumerate(names)
        }
        self._services = [self._service(name) for name in names]

    async def run(self) -> None:
        """Start everything, keep it running until SIGTERM, SIGINT or SIGHUP, stop everything.

        Refused: the store is not what it was; everything has been stopped, or was not started.
        """
        obey_signals(self._stopping, at_once=self._kill)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._nats.child.keep(), name="nats")
            tasks.create_task(self._nats.watch(), name="store")
            try:
                if await self._until(self._nats.is_ready):
                    for child in self._services:
                        tasks.create_task(child.keep(), name=child.name)
                    await self._announce()
                    await self._stopping.wait()
            finally:
                await self._stop_children()
        if self._nats.refused is not None:
            raise Refused(self._nats.refused)
        self._tell("stopped; the queue stays in the data folder")

    def _child(self, name: str, command: list[str], environment: Mapping[str, str]) -> Child:
        return Child(name, command, environment, self._settings, self._write_state)

    def _service(self, name: str) -> Child:
        service = name.partition("-")[0]
        environment = {
            **os.environ,
            **self._running.environment(),
            "JETPOST_HTTP__HOST": "127.0.0.1",
            "JETPOST_HTTP__PORT": str(self._http_ports[name]),
        }
        if service == "ingress" and self._settings.ingress > 1:
            environment["JETPOST_INGRESS__REUSE_PORT"] = "true"
        return self._child(name, [sys.executable, "-m", service, "--config", str(self._config)], environment)

    def _kill(self) -> NoReturn:
        for child in [*self._services, self._nats.child]:
            child.kill()
        os._exit(1)

    async def _stop_children(self) -> None:
        """What accepts mail first, what moves it next, what keeps it last."""
        await _all(child.stop() for child in self._services if child.name.startswith("ingress"))
        await _all(child.stop() for child in self._services)
        await self._nats.stop()

    async def _announce(self) -> None:
        """Say where everything is, once everything is ready or the time is up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.ready_timeout_s):
                await self._until(self._all_are_ready)
        self._tell(f"  {'nats':<12} nats://127.0.0.1:{self._running.nats_port}")
        for child in self._services:
            address = f"http://127.0.0.1:{self._http_ports[child.name]}"
            self._tell(f"  {child.name:<12} {address} (/metrics, /readyz): {await self._health(child)}")

    async def _until(self, condition: Callable[[], Awaitable[bool]]) -> bool:
        """Wait for `condition`; False when the system is to stop before."""
        while not self._stopping.is_set():
            if await condition():
                return True
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _POLL_S)
        return False

    async def _all_are_ready(self) -> bool:
        return all([await self._health(child) == "ready" for child in self._services])

    async def _health(self, child: Child) -> str:
        """`ready`, or why not."""
        answer = await get(self._http_ports[child.name], "/readyz") if child.pid else None
        if answer is None:
            return "not answering"
        reasons: dict[str, str] = msgspec.json.decode(answer.body)["reasons"]
        return "; ".join(f"{name}: {reason}" for name, reason in reasons.items()) or "ready"

    def _write_state(self) -> None:
        processes = {
            child.name: state.Process(child.pid, self._http_ports.get(child.name, 0))
            for child in [self._nats.child, *self._services]
            if child.pid is not None
        }
        try:
            state.write(self._data, msgspec.structs.replace(self._running, processes=processes))
        except OSError as error:
            # A full disk ends nobody; other commands find the last state.
            log.warning("cannot write state file", file=state.FILE, error=reason_of(error))

    def _remember(self, streams: dict[str, Seen]) -> None:
        self._running = msgspec.structs.replace(self._running, streams=streams)
        self._write_state()


async def _all(stops: Iterable[Awaitable[None]]) -> None:
    """Wait for all of them, whatever becomes of each."""
    await asyncio.gather(*stops)
