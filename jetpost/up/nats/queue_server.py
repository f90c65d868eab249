"""The embedded nats-server: its streams are checked at each start, and its batches are staged in memory."""

import asyncio
import contextlib
import os
from collections.abc import Callable, Collection
from pathlib import Path

from jetpost.jetstream.errors import ApiError, Unreachable
from jetpost.reason import reason_of
from jetpost.telemetry.log import logger
from jetpost.up.children import Child
from jetpost.up.nats import nats_server, staging
from jetpost.up.nats.recovery import NoRoom, Recovery, Refused
from jetpost.up.nats.restarts import Restarts
from jetpost.up.settings import Up
from jetpost.up.state import Running
from jetpost.up.streams import Seen

_LOOK_S = 1.0
_POLL_S = 0.05
_LOOKS_A_NOTE = 5

log = logger(__name__)


class QueueServer:
    """The server as a child process. Use `child.keep` and `watch` as tasks, and `stop` at the end.

    `stopping` ends them, and is set by them when the store is not what it was: `refused` says why.
    """

    def __init__(
        self,
        data: Path,
        running: Running,
        settings: Up,
        *,
        changed: Callable[[], None],
        remember: Callable[[dict[str, Seen]], None],
        stopping: asyncio.Event,
        forget: Collection[str] = (),
    ) -> None:
        self.refused: str | None = None
        self._restarts = Restarts()
        self._running = running
        self._stopping = stopping
        self._store = nats_server.store(data)
        command = nats_server.command(data, running)
        self._stages_in_memory = staging.is_tested(nats_server.version(command[0]))
        if not self._stages_in_memory:
            log.info("nats-server stages batches on disk: its version is not tested with staging in memory")
        self._recovery = Recovery(self._store, running.nats(), running.streams, remember, forget)
        self.child = Child(
            "nats", command, os.environ, settings, changed, may_start=self._may_start, inherits=[self._recovery.lock]
        )

    async def is_ready(self) -> bool:
        """Whether it runs with all its streams."""
        return self._recovery.is_verified and await self._is_healthy()

    async def watch(self) -> None:
        """Look after the server, over every restart of it, until all is to stop."""
        looks = 0
        while not self._stopping.is_set():
            if await self._is_healthy():
                with contextlib.suppress(Unreachable, ApiError):  # asked again at the next look
                    await self._look(note=looks % _LOOKS_A_NOTE == 0)
                looks += 1
            await self._pause(_LOOK_S if self._recovery.is_verified else _POLL_S)

    async def stop(self) -> None:
        """End it, when nobody uses it any more."""
        if self._recovery.is_verified and await self._is_healthy():
            with contextlib.suppress(Unreachable, ApiError):
                await self._recovery.farewell()
        await self.child.stop()
        if self.refused is None:
            staging.clear(self._store)
        else:
            await self._recovery.put_back()
        self._recovery.close()

    async def _look(self, *, note: bool) -> None:
        if not self._recovery.is_verified:
            try:
                await self._recovery.verify()
            except Refused as refused:
                self._refuse(refused)
                return
        if self._stages_in_memory:
            staging.link(self._store)
        if note and not await self._heal():
            await self._recovery.note()

    async def _heal(self) -> bool:
        """Restart a server in which a full disk has left something, once there is room; whether there is such a thing.

        Never while the disk is full: the server reads, and would not come back better.
        """
        full = await nats_server.full_disk(self._running, self._store)
        if full is None:
            return False
        if not full.has_room:
            log.error("disk full: nats-server stores nothing", error=full.error)
        elif self._restarts.may(asyncio.get_running_loop().time()):
            log.warning("disk has free space again, restarting nats-server", error=full.error)
            await self.child.restart()
        return True

    async def _may_start(self) -> bool:
        """Whether the server may start, once its files are protected."""
        while not self._stopping.is_set():
            try:
                await self._recovery.before()
                return True
            except Refused as refused:
                self._refuse(refused)
            except NoRoom as full:
                log.error("disk full: nats-server not started", error=reason_of(full))  # noqa: TRY400
                await self._pause(_LOOK_S)
        return False

    def _refuse(self, refused: Refused) -> None:
        self.refused = str(refused)
        log.error("refused to start nats-server", reason=self.refused)
        self._stopping.set()

    async def _is_healthy(self) -> bool:
        return self.child.pid is not None and await nats_server.is_healthy(self._running)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
