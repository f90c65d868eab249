"""A process from start to exit: configuration, logs, health, signals, exit status."""

import argparse
import asyncio
import gc
import os
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import uvloop

from jetpost.config.environment import FILE_VARIABLE
from jetpost.config.load import SHARED, ConfigurationError, Settings, load
from jetpost.config.refused import Unsafe
from jetpost.listening import CannotListen
from jetpost.process import files, http
from jetpost.process.signals import obey_signals
from jetpost.reason import reason_of
from jetpost.tasks import end
from jetpost.telemetry.log import Log, configure, logger

EXIT_CRASHED = 1
EXIT_CONFIGURATION = 78
"""EX_CONFIG of sysexits.h: starting again unchanged is pointless."""

_LOOK_S = 0.5
_LEAVE_S = 5.0
"""How long tasks that nobody owned may take to end."""

log = logger(__name__)
T = TypeVar("T")


class Stopped(Exception):  # noqa: N818 — an order obeyed, not an error
    """The process was told to stop before it had begun to serve."""


class Lifecycle:
    """The life of a process: whether it is ready, and when it must end."""

    def __init__(self) -> None:
        self.stopping = asyncio.Event()
        """Set by the first SIGTERM, SIGINT or SIGHUP: finish what has begun, then return."""
        self._checks: dict[str, Callable[[], str | None]] = {}
        self._starting = "starting"

    def ready_when(self, name: str, check: Callable[[], str | None]) -> None:
        """Count the process as ready only while `check()` is None; otherwise it says why not.

        A process with no check yet is starting, and so not ready.
        """
        self._checks[name] = check

    def waits_for(self, reason: str) -> None:
        """Say why the process is still starting: `/readyz` does until there is a check."""
        self._starting = reason

    def needs(self, tasks: Iterable[asyncio.Task[Any]]) -> None:
        """End the process when one of `tasks` ends by an exception: it would go on without what it lives from.

        At once, and without a drain that could wait for it: nothing is in the process, and whoever supervises it starts
        it again.
        """
        for task in tasks:
            task.add_done_callback(_end_with)

    def obstacles(self) -> dict[str, str]:
        """Why the process should get no work now, by the name of the check; empty: it is ready."""
        if self.stopping.is_set():
            return {"process": "stopping"}
        if not self._checks:
            return {"process": self._starting}
        return {name: reason for name, check in self._checks.items() if (reason := check()) is not None}

    async def unless_stopping(self, starting: Coroutine[Any, Any, T]) -> T:
        """What `starting` comes to. Stopped when the process is told to stop before, however long it would wait."""
        task = asyncio.ensure_future(starting)
        stopping = asyncio.create_task(self.stopping.wait())
        try:
            await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
        finally:  # also when this is cancelled
            await end([task for task in (task, stopping) if not task.done()])
        raise Stopped


def _end_with(task: asyncio.Task[Any]) -> None:
    if task.cancelled() or (error := task.exception()) is None:
        return
    log.critical("crashed: a required task ended", task=task.get_name(), exc_info=error)
    _exit(EXIT_CRASHED)


def _exit(status: int) -> NoReturn:
    """End the process now, whatever its threads are doing."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # its terminal is closed
            stream.flush()
    os._exit(status)


Serve = Callable[[Settings, Lifecycle], Awaitable[None]]
"""A service: works until `lifecycle.stopping` is set, then returns when it has drained."""


def run(service: str, serve: Serve) -> NoReturn:
    """Run `serve` as the whole of this process, configured by `--config FILE` and the environment; then exit.

    Exit status: 0 drained and stopped as told, 1 crashed, 78 the configuration has mistakes (all are printed).
    """
    parser = argparse.ArgumentParser(prog=f"python -m {service}")
    named = os.environ.get(FILE_VARIABLE)
    parser.add_argument("--config", type=Path, metavar="FILE", default=named, help="configuration (YAML)")
    arguments = parser.parse_args()
    try:
        settings = load(arguments.config, os.environ, sections=(*SHARED, service))
    except ConfigurationError as error:
        sys.stderr.write("".join(f"{problem}\n" for problem in error.problems))
        sys.exit(EXIT_CONFIGURATION)
    configure(service, settings.of(Log))
    files.raise_limit()
    _calm_the_collector()
    status = asyncio.Runner(loop_factory=uvloop.new_event_loop).run(_to_the_end(serve, settings))
    # Not by way of closing the loop and `exit`: both wait for threads, and a thread that looks up a name waits for as
    # long as DNS is silent, half a minute.
    _exit(status)


def _calm_the_collector() -> None:
    """What was imported is never searched again. What is new is searched often and in small pieces, what is old seldom.

    A session is a cycle of objects: after 50 000 new ones, a search takes 50 ms in which nobody is answered; after
    5 000, 5 ms (`make hostile`, connections opened and closed).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 200, 20)


async def _tell_readiness(lifecycle: Lifecycle) -> None:
    """Log when the process becomes ready, when it is not ready any more and why, and when it is ready again."""
    is_ready, reason, began = False, "", 0.0
    while True:
        obstacles = lifecycle.obstacles()
        if lifecycle.stopping.is_set():
            return
        if obstacles and is_ready:
            reason, began = "; ".join(obstacles.values()), time.monotonic()
            log.warning("not ready", reason=reason)
        elif not obstacles and not is_ready and reason:
            log.info("ready again", reason=reason, seconds=round(time.monotonic() - began))
        elif not obstacles and not is_ready:
            log.info("ready")
        is_ready = not obstacles
        await asyncio.sleep(_LOOK_S)


async def _to_the_end(serve: Serve, settings: Settings) -> int:
    """Serve until told to stop, and end what is left; the exit status."""
    status = await _live(serve, settings)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=_LEAVE_S)
    return status


async def _live(serve: Serve, settings: Settings) -> int:
    """Serve until told to stop; the exit status."""
    lifecycle = Lifecycle()
    obey_signals(lifecycle.stopping, at_once=lambda: os._exit(EXIT_CRASHED))
    log.info("starting", pid=os.getpid(), hostname=settings.hostname)
    try:
        async with http.serving(settings.of(http.Http), lifecycle.obstacles):
            telling = asyncio.create_task(_tell_readiness(lifecycle), name="readiness")
            try:
                await serve(settings, lifecycle)
            finally:
                await end([telling])
    except Stopped:
        log.info("stopped")
        return 0
    except CannotListen as error:
        log.error("cannot listen", reason=reason_of(error))  # noqa: TRY400 — for an operator, who needs no traceback
        return EXIT_CRASHED
    except Unsafe as error:
        log.error("refused to start", reason=reason_of(error))  # noqa: TRY400 — for an operator, who needs no traceback
        return EXIT_CONFIGURATION
    except Exception:
        log.exception("crashed")
        return EXIT_CRASHED
    if not lifecycle.stopping.is_set():
        log.error("service ended without a signal")
        return EXIT_CRASHED
    log.info("stopped")
    return 0
