"""`jetpost up`: the whole system on one machine, from an empty folder on."""

import asyncio
import json
import os
import signal
import smtplib
import ssl
import sys
from pathlib import Path

import psutil
import pytest

from jetpost.up import state
from jetpost.up.probe import free_port
from tests.fixtures.eventually import eventually
from tests.fixtures.process import Process, is_ready

SUBMISSION, SUBMISSIONS, RELAY = range(3)


class OneMachine(Process):
    """`jetpost up` on a data folder."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        command = [sys.executable, "-m", "jetpost", "up", "--data", str(self.data), "--ingress", "2"]
        super().__init__("up", command, folder / "up.log")
        self.ports = [free_port() for _ in range(3)]
        for listener, port in enumerate(self.ports):
            self.environment[f"JETPOST_INGRESS__LISTENERS__{listener}__PORT"] = str(port)
        # Nobody is asked where mail goes: what is queued stays.
        self.environment["JETPOST_DNS__NAMESERVERS"] = f"['127.0.0.1:{free_port()}']"

    def children(self) -> dict[str, state.Process]:
        """The processes by name, as `up.json` has them."""
        running = state.read(self.data)
        return running.processes if running else {}

    async def ready(self) -> None:
        """Wait until every process says that it is."""
        for name in ("ingress-1", "ingress-2", "delivery-1", "bouncer"):
            await self.child_ready(name)

    async def child_ready(self, name: str, *, other_than: int = 0) -> int:
        """Wait until that child is ready under a new process id; the id."""

        def born() -> state.Process | None:
            assert self.exit_status is None, self.log_tail()
            child = self.children().get(name)
            return child if child and child.pid != other_than else None

        child = await eventually(born, f"{name} runs")
        async with asyncio.timeout(30):
            while child.http_port and not await is_ready(child.http_port):
                await asyncio.sleep(0.05)
        return child.pid

    async def command(self, *words: str, stdin: str = "") -> str:
        """What another `jetpost` command prints."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "jetpost", *words),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(30):
            out, _ = await process.communicate(stdin.encode())
        assert process.returncode == 0
        return out.decode()

    def submit(self) -> None:
        """Hand in a message like a mail client that trusts the certificate of the first start."""
        context = ssl.create_default_context(cafile=self.data / "certificate.pem")
        with smtplib.SMTP("localhost", self.ports[SUBMISSION], timeout=30) as client:
            client.starttls(context=context)
            client.login("me", "sesame")
            client.sendmail("me@home.test", ["ann@dest.test"], "Subject: hello\r\n\r\nnot for operators\r\n")

    async def queued(self) -> int:
        """Entries in the queue, whatever their state."""
        depth = json.loads(await self.command("queue", "--data", str(self.data), "depth", "--json"))
        return sum(depth["states"].values())


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


async def test_nothing_outlives_the_parent(machine: OneMachine) -> None:
    machine.launch()
    await machine.ready()
    pids = [child.pid for child in machine.children().values()]

    await machine.kill()

    await eventually(lambda: not any(alive(pid) for pid in pids), "all children are gone")


async def test_a_bad_configuration_starts_nothing(machine: OneMachine) -> None:
    machine.environment["JETPOST_INGRESS__DRAIN_S"] = "5m"
    machine.launch()

    assert await machine.gone() == 78
    assert (
        "JETPOST_INGRESS__DRAIN_S: ingress.drain_s: must be a number of seconds, got `5m`; write 300"
        in machine.log_tail()
    )
    assert not (machine.data / "nats").exists()


def alive(pid: int) -> bool:
    """Whether the process runs."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
