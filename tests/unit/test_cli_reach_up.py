"""How commands find the system that runs under `jetpost up`."""

from pathlib import Path

import pytest

from jetpost.cli.reach import settings_for
from jetpost.jetstream.settings import Nats
from jetpost.up import state

UP = "nats://127.0.0.1:4999"
NAMED = "nats://nats.test:4222"
DEFAULT = Nats().servers[0]


def folder(path: Path, config: Path) -> Path:
    """A data folder in which a system runs with that file."""
    path.mkdir(exist_ok=True)
    state.write(path, state.Running(nats_port=4999, monitoring_port=1, password="secret", config=str(config)))
    return path


@pytest.mark.parametrize(
    ("content", "environ", "expected"),
    [
        ("", {}, UP),
        ("hostname: mx.test\n", {}, UP),
        ("nats:\n", {}, UP),
        ("nats: {request_timeout_s: 3}\n", {}, UP),
        (f"nats: {{servers: ['{NAMED}']}}\n", {}, NAMED),
        ("", {"JETPOST_NATS__SERVERS": f"['{NAMED}']"}, NAMED),
        ("", {"JETPOST_NATS": f"{{servers: ['{NAMED}']}}"}, NAMED),
    ],
)
@pytest.mark.parametrize(
    "place", ["the folder alone", "in the folder", "a link to it", "beside, with --data", "beside"]
)
def test_a_file_leads_to_the_system_that_runs_with_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: str,
    environ: dict[str, str],
    expected: str,
    place: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    is_beside = place.startswith("beside")
    file = tmp_path / "elsewhere.yaml" if is_beside else tmp_path / "data" / "jetpost.yaml"
    data = folder(tmp_path / "data", file)
    file.write_text(content)
    named = file
    if place == "a link to it":
        named = tmp_path / "link.yaml"
        named.symlink_to(file)
    if place == "beside, with --data":
        data = data.rename(tmp_path / "other")

    config = None if place == "the folder alone" else named.relative_to(tmp_path)
    nats = settings_for(config, data if is_beside or config is None else tmp_path / "none", "nats").of(Nats)

    if config is None and content.startswith("nats: {servers"):
        expected = UP  # as before: the folder was named, and not the file
    assert nats.servers == (expected,)
    assert nats.password.get_secret_value() == ("secret" if expected == UP else ""), "only its server gets it"


def test_a_file_of_no_system_is_taken_as_it_is(tmp_path: Path) -> None:
    """The folder has a system, but with another file."""
    data = folder(tmp_path / "data", tmp_path / "data" / "jetpost.yaml")
    other = data / "other.yaml"
    other.write_text("hostname: mx.test\n")

    assert settings_for(other, data, "nats").of(Nats).servers == (DEFAULT,)
