"""Signals that end a process: in peace at the first one, whichever it is."""

import asyncio
import os
import signal
from collections.abc import Iterator, Sequence
from functools import partial

import pytest
from structlog.testing import capture_logs

from jetpost.process import signals
from jetpost.process.signals import obey_signals
from tests.fixtures.eventually import eventually

TERM, INT, HUP = signal.SIGTERM, signal.SIGINT, signal.SIGHUP


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = {it: signal.getsignal(it) for it in (TERM, INT, HUP)}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


def _has(lines: Sequence[object], count: int) -> bool:
    return len(lines) >= count


@pytest.mark.parametrize(
    ("sent", "ends_at_once"),
    [
        ([TERM], False),
        ([INT], False),
        ([HUP], False),
        ([TERM, TERM], True),
        ([INT, INT], True),
        ([HUP, TERM], True),
        ([HUP, INT], True),
        # A shell says it, and then the kernel does: the terminal is closed only once.
        ([HUP, HUP], False),
        ([TERM, HUP], False),
        ([HUP, HUP, HUP], False),
    ],
)
async def test_the_first_signal_asks_and_a_later_one_ends(
    monkeypatch: pytest.MonkeyPatch, sent: list[signal.Signals], *, ends_at_once: bool
) -> None:
    monkeypatch.setattr(signals, "_ONE_REQUEST_S", 0)
    stopping, ended = asyncio.Event(), asyncio.Event()
    with capture_logs() as lines:
        obey_signals(stopping, at_once=ended.set)
        for signum in sent:
            is_told = len(lines) + (signum is not HUP or not stopping.is_set())
            os.kill(os.getpid(), signum)
            await eventually(partial(_has, lines, is_told), f"{signum.name} is obeyed")
        await asyncio.wait_for(stopping.wait(), 30)
        marker = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, marker.set)
        os.kill(os.getpid(), signal.SIGUSR1)  # those before have been handled then
        await asyncio.wait_for(marker.wait(), 30)

    assert ended.is_set() is ends_at_once
    assert lines[0]["event"] == "stopping"
    assert lines[0]["signal"] == sent[0].name


async def test_a_process_under_nohup_does_not_stop_with_its_terminal() -> None:
    signal.signal(HUP, signal.SIG_IGN)
    stopping = asyncio.Event()

    obey_signals(stopping, at_once=stopping.set)

    assert signal.getsignal(HUP) is signal.SIG_IGN
