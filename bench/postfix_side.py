"""Postfix, tuned for this load: no limit that matters, no look-up, nothing on the way that Jetpost does not do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from bench.load import Sink
from bench.postfix import Postfix
from bench.side import Phase

_TUNED = {
    # Accept as fast as possible, whatever the queue manager does.
    "in_flow_delay": "0s",
    "smtpd_client_connection_count_limit": "0",
    # Processes are not replaced while it runs (default: after 100 sessions).
    "max_use": "100000",
    "smtputf8_enable": "no",
    # As many connections to the one destination as Jetpost makes, from the start; reused on demand (the default).
    "initial_destination_concurrency": "20",
    "smtp_destination_concurrency_limit": "20",
}
# Accepted mail is fsynced into the queue and stays there: the queue manager does not even look at it.
_HOLD = {"smtpd_data_restrictions": "check_client_access static:HOLD"}


class PostfixSystem:
    """A running Postfix and its processes."""

    def __init__(self, postfix: Postfix, queue: Path) -> None:
        self.host = postfix.host
        self.port = postfix.port
        self._master = psutil.Process(postfix.pid)
        self._queue = queue

    def processes(self) -> dict[int, str]:
        """The master and its children, by program."""
        return {process.pid: process.name() for process in (self._master, *self._master.children(recursive=True))}

    async def queued(self) -> int:
        """Files in its queue."""
        folders = ("incoming", "active", "deferred", "hold")
        return sum(1 for folder in folders for file in (self._queue / folder).rglob("*") if file.is_file())


@asynccontextmanager
async def postfix(folder: Path, phase: Phase, sink: Sink) -> AsyncIterator[PostfixSystem]:
    """Postfix as a relay to the sink."""
    parameters = {**_TUNED, "relayhost": f"[{sink.host}]:{sink.port}", **(_HOLD if phase is Phase.ACCEPTANCE else {})}
    instance = Postfix(folder, parameters)
    await asyncio.to_thread(instance.start)
    try:
        yield PostfixSystem(instance, folder / "queue")
    finally:
        await asyncio.to_thread(instance.stop)
