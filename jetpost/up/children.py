"""A child process that is kept running: started again when it dies, stopped when told, never left behind."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from jetpost.telemetry.log import logger
from jetpost.up.settings import Up

log = logger(__name__)

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class Child:
    """One process of the system. `keep` owns it; `stop` ends it.

    Before each start `may_start` is asked: False ends `keep`. The process has the open files `inherits`.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        settings: Up,
        changed: Callable[[], None],
        *,
        may_start: Callable[[], Awaitable[bool]] | None = None,
        inherits: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.pid: int | None = None
        """None while it does not run."""
        self._command = command
        self._environment = environment
        self._settings = settings
        self._changed = changed
        self._may_start = may_start
        self._inherits = inherits
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._restarting = False

    async def keep(self) -> None:
        """Run the process, again and again, until `stop` is called."""
        deaths = 0
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            if self._may_start is not None and not await self._may_start():
                return
            born = loop.time()
            status = await self._run()
            if self._stopping.is_set():
                return
            if self._restarting:
                self._restarting = False
                continue
            deaths = 1 if loop.time() - born > self._settings.restart_cap_s else deaths + 1
            delay_s = restart_delay_s(deaths, self._settings)
            log.error("process exited unexpectedly", process=self.name, **ended_by(status), retry_in_s=delay_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay_s)

    async def stop(self) -> None:
        """Ask the process to end (SIGTERM) and wait until it has; kill it when it takes too long."""
        self._stopping.set()
        await self._end()

    async def restart(self) -> None:
        """The same, and `keep` starts it again at once."""
        if self._process is not None:
            self._restarting = True
            await self._end()

    async def _end(self) -> None:
        process = self._process
        if process is None:
            return
        self._signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), self._settings.stop_timeout_s)
        except TimeoutError:
            log.warning("process did not stop in time and was killed", process=self.name)
            self._signal(signal.SIGKILL)
            await process.wait()

    def kill(self) -> None:
        """End the process without asking."""
        self._stopping.set()
        self._signal(signal.SIGKILL)

    def _signal(self, signum: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signum)

    async def _run(self) -> int:
        """One life of the process; its exit status, negative for a signal."""
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            env=dict(self._environment),
            stdin=asyncio.subprocess.DEVNULL,
            # Ctrl-C reaches the parent alone, which stops its children in order.
            start_new_session=True,
            pass_fds=self._inherits,
            preexec_fn=partial(_die_with, os.getpid()),
        )
        self.pid = self._process.pid
        self._changed()
        if self._stopping.is_set():
            self._signal(signal.SIGTERM)
        try:
            return await self._process.wait()
        finally:
            self.pid = self._process = None
            self._changed()


def restart_delay_s(deaths: int, settings: Up) -> float:
    """Seconds before a process that died `deaths` times in a row is started again."""
    return min(settings.restart_first_s * 2.0 ** min(deaths - 1, 30), settings.restart_cap_s)


def ended_by(status: int) -> dict[str, str | int]:
    """What ended a process, as a field for the log: its `exit_status`, or the name of the `signal`."""
    return {"signal": signal.Signals(-status).name} if status < 0 else {"exit_status": status}


def _die_with(parent: int) -> None:
    """Runs in the child before its program: when the parent is killed, so is the child (Linux)."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
