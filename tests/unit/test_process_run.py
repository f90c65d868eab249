"""A process from start to exit: health, signals, exit status."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from jetpost.up.probe import get
from tests.fixtures.eventually import PATIENCE_S

ROOT = Path(__file__).parents[2]

SERVICE = """
import asyncio
import pathlib
from jetpost.telemetry.log import logger
from jetpost.process.run import run

async def serve(settings, life):
    logger("test").info("serving", queue_id="q1", content=b"x", where=pathlib.Path("here"))
    gate = pathlib.Path("gate")
    life.ready_when("gate", lambda: None if gate.exists() else "closed")
    {body}

run("delivery", serve)
"""


@asynccontextmanager
async def process(
    folder: Path, body: str = "await life.stopping.wait()", config: str = "", *, under: Sequence[str] = ()
) -> AsyncIterator[asyncio.subprocess.Process]:
    (folder / "service.py").write_text(SERVICE.format(body=body))
    (folder / "jetpost.yaml").write_text(config or f"http: {{port_file: {folder}/port}}")
    child = await asyncio.create_subprocess_exec(
        *(*under, sys.executable, "service.py", "--config", "jetpost.yaml"),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():
            await asyncio.sleep(0.02)


async def readiness(folder: Path) -> tuple[int, dict[str, str]] | None:
    port = (folder / "port").read_text() if (folder / "port").exists() else ""
    answer = await get(int(port), "/readyz") if port.endswith("\n") else None
    return (answer.status, json.loads(answer.body)["reasons"]) if answer else None


async def ended(child: asyncio.subprocess.Process) -> tuple[int, list[dict[str, Any]]]:
    """Exit status, and the log."""
    async with asyncio.timeout(PATIENCE_S):
        _, stderr = await child.communicate()
    assert child.returncode is not None
    return child.returncode, [json.loads(line) for line in stderr.splitlines()]


async def test_a_process_is_ready_only_while_nothing_stands_in_its_way(tmp_path: Path) -> None:
    async with process(tmp_path) as child:

        async def closed() -> bool:
            return await readiness(tmp_path) == (503, {"gate": "closed"})

        async def is_open() -> bool:
            return await readiness(tmp_path) == (200, {})

        await until(closed)
        (tmp_path / "gate").touch()
        await until(is_open)
        (tmp_path / "gate").unlink()
        await until(closed)
        child.send_signal(signal.SIGTERM)
        status, lines = await ended(child)

    assert status == 0
    lines = [line for line in lines if "ready" not in line["event"]]
    assert [line["event"] for line in lines] == ["starting", "listening", "serving", "stopping", "stopped"]
    assert list(lines[2])[:4] == ["time", "level", "service", "event"]
    assert lines[2]["queue_id"] == "q1"
    assert lines[2]["service"] == "delivery"


async def test_the_log_says_when_a_process_is_ready_and_when_it_is_ready_again(tmp_path: Path) -> None:
    async with process(tmp_path) as child:
        assert child.stderr is not None

        async def told(event: str) -> dict[str, Any]:
            line: dict[str, Any] = {}
            async with asyncio.timeout(PATIENCE_S):
                while line.get("event") != event:
                    line = json.loads(await child.stderr.readline())  # type: ignore[union-attr]
            return line

        (tmp_path / "gate").touch()
        await told("ready")
        (tmp_path / "gate").unlink()
        assert (await told("not ready"))["reason"] == "closed"
        (tmp_path / "gate").touch()
        assert (await told("ready again"))["reason"] == "closed"
        child.send_signal(signal.SIGTERM)
        status, _ = await ended(child)

    assert status == 0


async def test_a_process_says_that_it_lives_and_what_it_measures(tmp_path: Path) -> None:
    async with process(tmp_path) as child:

        async def answers() -> bool:
            return await readiness(tmp_path) is not None

        await until(answers)
        port = int((tmp_path / "port").read_text())
        alive, metrics = await get(port, "/livez"), await get(port, "/metrics")
        child.send_signal(signal.SIGINT)
        status, _ = await ended(child)

    assert alive is not None
    assert alive.status == 200
    assert metrics is not None
    assert "jetpost_process_loop_lag_seconds_bucket" in metrics.body
    assert "process_resident_memory_bytes" in metrics.body
    assert status == 0


async def test_a_process_that_drains_is_not_ready_and_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    (tmp_path / "gate").touch()
    async with process(tmp_path, "await asyncio.Event().wait()") as child:

        async def is_open() -> bool:
            return await readiness(tmp_path) == (200, {})

        async def is_stopping() -> bool:
            return await readiness(tmp_path) == (503, {"process": "stopping"})

        await until(is_open)
        child.send_signal(signal.SIGTERM)
        await until(is_stopping)
        # A signal that comes twice at once is one request; a later one is another.
        ending = asyncio.create_task(ended(child))
        while not ending.done():
            child.send_signal(signal.SIGTERM)
            await asyncio.wait({ending}, timeout=0.2)
        status, lines = await ending

    assert status == 1
    assert [line["event"] for line in lines[-2:]] == ["stopping", "exiting immediately"]


async def test_a_thread_that_is_still_at_work_delays_no_exit(tmp_path: Path) -> None:
    """One that looks up a name is, while DNS is silent."""
    (tmp_path / "gate").touch()
    body = "asyncio.get_running_loop().run_in_executor(None, __import__('time').sleep, 300); await life.stopping.wait()"
    async with process(tmp_path, body) as child:

        async def is_open() -> bool:
            return await readiness(tmp_path) == (200, {})

        await until(is_open)
        child.send_signal(signal.SIGTERM)
        status, lines = await ended(child)

    assert (status, lines[-1]["event"]) == (0, "stopped")


async def test_a_task_that_nobody_owned_is_ended(tmp_path: Path) -> None:
    body = """
    async def left():
        try:
            await asyncio.Event().wait()
        finally:
            logger("test").info("ended in peace")
    life.left = asyncio.create_task(left())
    await asyncio.sleep(0)
    life.stopping.set()
"""
    async with process(tmp_path, body.strip()) as child:
        status, lines = await ended(child)

    assert (status, [line["event"] for line in lines[-2:]]) == (0, ["stopped", "ended in peace"])


async def test_a_process_may_open_as_many_files_as_the_system_lets_it(tmp_path: Path) -> None:
    body = 'import resource; logger("test").info("may", files=resource.getrlimit(resource.RLIMIT_NOFILE)); return'
    async with process(tmp_path, body, under=("sh", "-c", 'ulimit -Sn 300; ulimit -Hn 500; exec "$@"', "sh")) as child:
        _, lines = await ended(child)

    assert next(line for line in lines if line["event"] == "may")["files"] == [500, 500]


async def test_a_crash_is_logged_with_its_traceback(tmp_path: Path) -> None:
    async with process(tmp_path, "raise RuntimeError('broken')") as child:
        status, lines = await ended(child)

    assert status == 1
    assert lines[-1]["event"] == "crashed"
    assert lines[-1]["exception"].endswith("RuntimeError: broken")


async def test_a_process_ends_at_once_when_a_task_it_needs_does(tmp_path: Path) -> None:
    body = """
    async def breaks(): raise RuntimeError("broken")
    life.needs([asyncio.create_task(breaks(), name="group commit")])
    await asyncio.Event().wait()"""
    async with process(tmp_path, body) as child:
        status, lines = await ended(child)

    assert status == 1
    assert lines[-1]["event"] == "crashed: a required task ended"
    assert lines[-1]["task"] == "group commit"
    assert lines[-1]["exception"].endswith("RuntimeError: broken")


async def test_a_task_that_is_ended_in_peace_ends_no_process(tmp_path: Path) -> None:
    body = """
    task = asyncio.create_task(asyncio.Event().wait())
    life.needs([task])
    task.cancel()
    await life.stopping.wait()"""
    (tmp_path / "gate").touch()
    async with process(tmp_path, body) as child:

        async def is_open() -> bool:
            return await readiness(tmp_path) == (200, {})

        await until(is_open)
        child.send_signal(signal.SIGTERM)
        status, _ = await ended(child)

    assert status == 0


async def test_a_service_that_ends_by_itself_has_failed(tmp_path: Path) -> None:
    async with process(tmp_path, "return") as child:
        status, lines = await ended(child)

    assert status == 1
    assert lines[-1]["event"] == "service ended without a signal"


async def test_a_bad_configuration_is_refused_with_every_mistake_and_no_traceback(tmp_path: Path) -> None:
    async with process(
        tmp_path, config="delivery:\n  drain_s: soon\nhtp: {}\ningress: [another process's business]\n"
    ) as child:
        async with asyncio.timeout(PATIENCE_S):
            _, stderr = await child.communicate()

    assert child.returncode == 78
    first, second = stderr.decode().splitlines()
    assert first == "jetpost.yaml:2: delivery.drain_s: must be a number of seconds, or text such as `5m`, got `soon`"
    assert second.startswith("jetpost.yaml:3: htp: unknown key, did you mean `http`?")
