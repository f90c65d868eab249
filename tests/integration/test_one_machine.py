"""`jetpost up`: the whole system on one machine, from an empty folder on."""

import asyncio
import fcntl
import json
import os
import pty
import signal
import subprocess
import termios
from pathlib import Path

import psutil
import pytest

from tests.fixtures.eventually import eventually
from tests.fixtures.one_machine import OneMachine
from tests.fixtures.process import Process


@pytest.fixture
def machine(tmp_path: Path) -> OneMachine:
    return OneMachine(tmp_path)


async def test_a_first_try_works_at_once_and_the_queue_survives_a_restart(machine: OneMachine) -> None:
    machine.launch()
    try:
        await machine.ready()
        await machine.command("user", "add", str(machine.data / "users"), "me", "--password-stdin", stdin="sesame\n")
        await asyncio.to_thread(machine.submit)
        assert await machine.queued() == 1
        config = str(machine.data / "jetpost.yaml")
        (found,) = json.loads(await machine.command("queue", "--config", config, "list", "--json"))
        assert found["domain"] == "dest.test"

        assert await machine.stop() == 0
        assert machine.children() == {}
        machine.launch()
        await machine.ready()

        (entry,) = json.loads(await machine.command("queue", "--data", str(machine.data), "list", "--json"))
        shown = await machine.command("queue", "--data", str(machine.data), "show", entry["queue_id"])
        assert "Subject: hello" in shown
        assert "not for operators" not in shown
    finally:
        assert await machine.stop() == 0


async def test_a_process_that_is_killed_is_started_again(machine: OneMachine) -> None:
    machine.launch()
    try:
        await machine.ready()
        for name in ("nats", "ingress-2", "delivery-1", "bouncer"):
            before = machine.children()[name].pid
            os.kill(before, signal.SIGKILL)
            assert await machine.child_ready(name, other_than=before) != before
        await machine.ready()
    finally:
        assert await machine.stop() == 0


async def test_a_data_folder_has_one_system(machine: OneMachine) -> None:
    machine.launch()
    try:
        await machine.ready()
        second = Process("second", machine._command, machine.log_file.with_name("second.log"))
        second.launch()
        assert await second.gone() == 1
        assert "another `jetpost up` runs in" in second.log_tail()
    finally:
        assert await machine.stop() == 0


async def test_a_closed_terminal_stops_it_in_order(machine: OneMachine) -> None:
    """Processes that stop leave `up.json`; those that are killed stay in it."""
    machine.environment["JETPOST_LOG__LEVEL"] = "error"  # nobody reads the terminal
    terminal, end = pty.openpty()
    machine._process = subprocess.Popen(  # noqa: S603, ASYNC220 — our own program, as `launch` starts it
        machine._command,
        env={**os.environ, **machine.environment},
        stdin=end,
        stdout=end,
        stderr=end,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
    )
    os.close(end)
    try:
        await machine.ready()
        pids = [child.pid for child in machine.children().values()]
    finally:
        os.close(terminal)
        await machine.gone()

    assert len(pids) == 5
    assert machine.children() == {}
    assert not any(alive(pid) for pid in pids)


async def test_nothing_outlives_the_parent(machine: OneMachine) -> None:
    machine.launch()
    await machine.ready()
    pids = [child.pid for child in machine.children().values()]

    await machine.kill()

    await eventually(lambda: not any(alive(pid) for pid in pids), "all children are gone")


async def test_a_bad_configuration_starts_nothing(machine: OneMachine) -> None:
    machine.environment["JETPOST_INGRESS__DRAIN_S"] = "soon"
    machine.launch()

    assert await machine.gone() == 78
    assert (
        "JETPOST_INGRESS__DRAIN_S: ingress.drain_s: must be a number of seconds, or text such as `5m`, got `soon`"
        in machine.log_tail()
    )
    assert not (machine.data / "nats").exists()


def alive(pid: int) -> bool:
    """Whether the process runs."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
