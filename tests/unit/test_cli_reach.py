"""A command that no configuration was named to says so, and by what it goes instead."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from jetpost.cli.main import app
from jetpost.up import state

QUEUE_COMMANDS = [["queue"], ["queue", "list"], ["queue", "depth"], ["queue", "content"]]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without a system, and an environment that configures nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("jetpost.cli.reach._CONNECT_S", 0.1)
    # A Service of that name sets these in every pod of its namespace.
    monkeypatch.setenv("JETPOST_INGRESS_SERVICE_HOST", "192.0.2.1")
    monkeypatch.setenv("JETPOST_NATS_PORT_25_TCP", "tcp://192.0.2.1:25")


def said(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(words))
    return result.exit_code, result.output


@pytest.mark.parametrize("words", QUEUE_COMMANDS, ids=" ".join)
def test_a_command_about_the_queue_says_that_there_is_no_system(words: list[str]) -> None:
    _, output = said(*words)

    assert output.startswith("no system in ./data and no --config: the defaults are used (NATS nats://127.0.0.1:4222)")
    assert "name a configuration with --config or JETPOST_CONFIG, or with --data the folder of a system" in output


def test_the_folder_that_was_named_is_said(tmp_path: Path) -> None:
    _, output = said("queue", "--data", str(tmp_path / "elsewhere"))

    assert f"no system in {tmp_path}/elsewhere and no --config" in output


def test_a_route_from_the_defaults_is_told_as_such() -> None:
    _, output = said("route", "explain", "bob@[192.0.2.1]")

    assert "no --config: the defaults are used (no routes, the name servers of this machine)" in output


def test_a_doctor_with_nothing_to_check_has_not_passed() -> None:
    status, output = said("doctor", "--fail-on", "error")

    assert status == 2
    assert "skip  configuration: none: not checked: no system in ./data and no --config" in output
    assert "ERROR configuration: none: nothing was checked" in output


def test_who_named_a_configuration_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file := tmp_path / "jetpost.yaml").write_text("nats: {servers: ['nats://127.0.0.1:1']}\n")
    (tmp_path / "data").mkdir()

    assert "no system" not in said("queue", "--config", str(file))[1]
    with monkeypatch.context() as changed:
        changed.setenv("JETPOST_CONFIG", str(file))
        assert "no system" not in said("queue")[1]
    with monkeypatch.context() as changed:
        changed.setenv("JETPOST_NATS__SERVERS", "['nats://127.0.0.1:1']")
        assert "no system" not in said("queue")[1]
        assert "no system" in said("route", "explain", "bob@[192.0.2.1]")[1]
    state.write(tmp_path / "data", state.Running(nats_port=1, monitoring_port=1, password="x"))
    assert "no system" not in said("queue")[1]
