"""A nats-server is alone on its volume, also when its predecessor was deleted by force and still runs."""

import sys
from pathlib import Path

from tests.fixtures.eventually import eventually, eventually_asked
from tests.fixtures.nats import NatsServer, executable
from tests.fixtures.process import Process


def alone(server: NatsServer, folder: Path, name: str) -> Process:
    """The server's own command, on a folder that it must have for itself."""
    command = [executable(), "-c", str(server._configuration_file)]
    exclusive = [sys.executable, "-m", "jetpost.process.nats_pod.exclusive", str(folder)]
    return Process(name, [*exclusive, *command], folder / f"{name}.log")


async def answers(server: NatsServer) -> None:
    await eventually_asked(lambda: server.monitor("varz"), "nats-server answers")


async def test_a_successor_waits_for_the_death_of_its_predecessor(tmp_path: Path) -> None:
    server = NatsServer(tmp_path)
    first, second = alone(server, tmp_path, "predecessor"), alone(server, tmp_path, "successor")
    first.launch()
    await answers(server)
    second.launch()
    await eventually(lambda: "is in use" in second.log_tail(), "the successor waits")
    await first.kill()
    await answers(server)
    assert second.exit_status is None
    await second.stop()


async def test_who_waits_leaves_when_told(tmp_path: Path) -> None:
    server = NatsServer(tmp_path)
    first, second = alone(server, tmp_path, "predecessor"), alone(server, tmp_path, "successor")
    first.launch()
    await answers(server)
    second.launch()
    await eventually(lambda: "is in use" in second.log_tail(), "the successor waits")
    assert await second.stop() == 143
    await first.stop()
