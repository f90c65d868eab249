"""SIGTERM, SIGINT and SIGHUP: the first asks a process to end in peace, a later one to end at once.

SIGHUP says that the terminal is closed. Shell and kernel may both say so, so it never ends a process at once.
"""

import asyncio
import signal
from collections.abc import Callable

from jetpost.telemetry.log import logger

_ONE_REQUEST_S = 0.5
"""Signals this close together are one request: `timeout`, shells and terminals send it to a process and its group."""

log = logger(__name__)


def obey_signals(stopping: asyncio.Event, at_once: Callable[[], None]) -> None:
    """Set `stopping` at the first signal; call `at_once` when another one follows later. Call in a running loop."""
    loop = asyncio.get_running_loop()
    first = 0.0

    def obey(signum: signal.Signals) -> None:
        nonlocal first
        if not stopping.is_set():
            first = loop.time()
            stopping.set()
            log.info("stopping", signal=signum.name)
        elif signum is not signal.SIGHUP and loop.time() - first > _ONE_REQUEST_S:
            log.warning("exiting immediately", signal=signum.name)
            at_once()

    # `nohup` has SIGHUP ignored, for this process and its children.
    hangup = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
    for signum in (signal.SIGTERM, signal.SIGINT, *hangup):
        loop.add_signal_handler(signum, obey, signum)
