"""The fixture that forks services and commands: each prints, ends and dies as one that was started by itself."""

import signal
import sys
from pathlib import Path

import pytest

from tests.fixtures.fork_server import Forked
from tests.fixtures.process import Process


class Started(Process):
    forked = False


async def ended(kind: type[Process], words: list[str], folder: Path) -> tuple[int, str]:
    process = kind("command", [sys.executable, "-m", "jetpost", *words], folder / kind.__name__)
    process.launch()
    assert isinstance(process._process, Forked) is (kind is Process)
    return await process.gone(), process.log_file.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "words",
    [["--version"], ["nonesuch"], ["queue", "--config", "/nonexistent"], ["config", "check", "/nonexistent"]],
    ids=" ".join,
)
async def test_it_prints_and_ends_like_it(words: list[str], tmp_path: Path) -> None:
    assert await ended(Process, words, tmp_path) == await ended(Started, words, tmp_path)


async def test_a_signal_ends_it_and_is_its_status(tmp_path: Path) -> None:
    service = Process("bouncer", [sys.executable, "-m", "bouncer"], tmp_path / "log")
    service.environment["JETPOST_NATS__SERVERS"] = "['nats://127.0.0.1:9']"
    service.launch()
    service.signal(signal.SIGSTOP)
    assert service.exit_status is None
    await service.kill()
    assert service.exit_status == -signal.SIGKILL
