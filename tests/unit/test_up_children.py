"""Child processes are kept running, and never left behind."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from jetpost.up.children import Child, ended_by, restart_delay_s
from jetpost.up.settings import Up

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60
FOREVER = [sys.executable, "-c", "import signal; print('up', flush=True); signal.pause()"]
DEAF = [
    *(sys.executable, "-c"),
    "import signal, pathlib; signal.signal(15, signal.SIG_IGN); pathlib.Path('deaf').touch(); signal.pause()",
]
QUICK = Up(restart_first_s=0.01, restart_cap_s=0.05, stop_timeout_s=0.2)


class Changes:
    """Counts the changes of a child."""

    def __init__(self) -> None:
        self.number = 0
        self._more = asyncio.Event()

    def __call__(self) -> None:
        self.number += 1
        self._more.set()

    async def until(self, number: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while self.number < number:
                self._more.clear()
                await self._more.wait()


@asynccontextmanager
async def kept(command: list[str], settings: Up = QUICK) -> AsyncIterator[tuple[Child, Changes, asyncio.Task[None]]]:
    changes = Changes()
    child = Child("child", command, dict(os.environ), settings, changes)
    async with asyncio.TaskGroup() as tasks:
        keeping = tasks.create_task(child.keep())
        yield child, changes, keeping
        await child.stop()


@pytest.mark.parametrize(("deaths", "delay_s"), [(1, 0.2), (2, 0.4), (3, 0.8), (5, 3.2), (6, 5), (10_000, 5)])
def test_a_process_that_keeps_dying_is_started_ever_later(deaths: int, delay_s: float) -> None:
    assert restart_delay_s(deaths, Up()) == delay_s


@pytest.mark.parametrize(
    ("status", "fields"), [(1, {"exit_status": 1}), (-9, {"signal": "SIGKILL"}), (0, {"exit_status": 0})]
)
def test_the_log_says_what_ended_a_process(status: int, fields: dict[str, str | int]) -> None:
    assert ended_by(status) == fields


async def test_a_killed_process_comes_back_until_it_is_stopped() -> None:
    async with kept(FOREVER) as (child, changes, keeping):
        await changes.until(1)
        first = child.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await changes.until(3)
        second = child.pid
        assert second is not None
        assert second != first
    assert keeping.done()
    assert child.pid is None
    assert not psutil.pid_exists(second)


async def test_a_process_that_does_not_stop_in_time_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with kept(DEAF) as (child, changes, _):
        await changes.until(1)
        async with asyncio.timeout(PATIENCE_S):
            while not (tmp_path / "deaf").exists():
                await asyncio.sleep(0.01)
        pid = child.pid
    assert pid is not None
    assert not psutil.pid_exists(pid)


async def test_a_process_that_waits_for_its_restart_can_be_stopped() -> None:
    async with kept(["/bin/false"], Up(restart_first_s=60, restart_cap_s=60)) as (_, changes, _keeping):
        await changes.until(2)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux ends the children of a parent that was killed")
async def test_children_die_with_a_parent_that_is_killed() -> None:
    script = (
        "import asyncio, os, sys\n"
        "from jetpost.up.children import Child\n"
        "from jetpost.up.settings import Up\n"
        f"child = Child('child', {FOREVER!r}, dict(os.environ), Up(), lambda: print(child.pid, flush=True))\n"
        "asyncio.run(child.keep())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script), stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert parent.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        pid = int(await parent.stdout.readline())
        parent.kill()
        await parent.wait()
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(0.01)
