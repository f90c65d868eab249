"""One measurement: a fresh system, a warm-up, the load, and what it cost."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bench.destination import Checking
from bench.load import Load, Sink, send
from bench.side import Destination, Phase, Side, System, Way
from bench.usage import Usage, usage
from tests.fixtures.eventually import eventually_asked

_WARM_UP = 500


class Workload(NamedTuple):
    """What is measured: a phase under a load."""

    phase: Phase
    load: Load
    way: Way = Way.PLAIN


class Measured(NamedTuple):
    """What one side made of a workload."""

    side: str
    workload: Workload
    seconds: float
    usage: Usage

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.workload.load.messages / self.seconds

    @property
    def cpu_ms(self) -> float:
        """Processor time of all its processes for one message, in milliseconds."""
        return 1000 * sum(self.usage.cpu_s.values()) / self.workload.load.messages


async def measure(side: Side, workload: Workload, parent: Path) -> Measured:
    """Run `side` in a folder of its own in `parent`, removed afterwards. AssertionError: a message is missing."""
    with open_folder(parent, side.name.lower()) as folder:
        certificates = folder / "certificates"
        certificates.mkdir()
        destination = Sink() if workload.way is Way.PLAIN else Checking(workload.way, certificates)
        async with destination as sink, side.run(folder, workload.phase, sink) as system:
            return await _measure(side.name, workload, system, sink)


@contextmanager
def open_folder(parent: Path, name: str) -> Iterator[Path]:
    """A new folder that every user may enter, as Postfix's programs must; removed after the block."""
    with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=parent) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


async def _measure(name: str, workload: Workload, system: System, sink: Destination) -> Measured:
    phase, load, _ = workload
    delivered = phase is Phase.RELAY
    await send(system.host, system.port, load._replace(messages=_WARM_UP))
    if delivered:
        await sink.wait_for(_WARM_UP)
    before = usage(system.processes())
    began = time.monotonic()
    await send(system.host, system.port, load)
    if delivered:
        await sink.wait_for(_WARM_UP + load.messages)
    seconds = time.monotonic() - began
    used = usage(system.processes()).since(before)
    await _nothing_is_missing(system, 0 if delivered else _WARM_UP + load.messages)
    expected = _WARM_UP + load.messages if delivered else 0
    assert sink.received == expected, f"{name}: {sink.received} messages arrived, not {expected}"
    assert not sink.wrong, f"{name}: {sink.wrong} messages did not come by {sink.way}"
    return Measured(name, workload, seconds, used)


async def _nothing_is_missing(system: System, expected: int) -> None:
    async def settled() -> bool:
        return await system.queued() == expected

    await eventually_asked(settled, f"{expected} messages in the queue")


def median(results: Sequence[Measured]) -> Measured:
    """The one in the middle by its rate."""
    return sorted(results, key=lambda result: result.rate)[len(results) // 2]
