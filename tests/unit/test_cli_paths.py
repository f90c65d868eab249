"""A path that a command cannot use is one sentence on stderr and an exit status, never a traceback."""

import os
import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jetpost.cli.main import COMMANDS, app

_NOBODY = 65534


@contextmanager
def _without_rights() -> Iterator[None]:
    """Root may read and write everywhere: be somebody else meanwhile."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


USES = {
    "up": ["up", "--data", "PATH"],
    "up below": ["up", "--data", "PATH/data"],
    "up with a file": ["up", "--data", "data", "--config", "PATH"],
    "user add": ["user", "add", "PATH", "ann", "--password-stdin"],
    "user list": ["user", "list", "PATH"],
    "user remove": ["user", "remove", "PATH", "ann"],
    "dkim new": ["dkim", "new", "a.test", "s", "PATH", "--kind", "ed25519"],
    "dkim show": ["dkim", "show", "--config", "PATH"],
    "dkim rotate": ["dkim", "rotate", "a.test", "s", "--folder", "PATH"],
    "queue backup": ["queue", "--config", "good.yaml", "backup", "PATH"],
    "queue restore": ["queue", "--config", "good.yaml", "restore", "PATH"],
    "queue": ["queue", "--config", "PATH"],
    "events": ["events", "--config", "PATH"],
    "config check": ["config", "check", "PATH"],
    "route explain": ["route", "explain", "bob@a.test", "--config", "PATH"],
    "send": ["send", "--to", "b@a.test", "--from", "a@a.test", "--file", "PATH"],
    "send with a CA": ["send", "--to", "b@a.test", "--from", "a@a.test", "--ca", "PATH"],
}
PATHS = ["file/x", "none/none/x", "loop", "x" * 300, "locked"]
MAY_BE_MADE = {("up", "none/none/x"), ("up below", "none/none/x")}
CASES = [
    *((use, path) for use in USES for path in PATHS if (use, path) not in MAY_BE_MADE),
    ("up", "file"),
    ("up below", "file"),
    ("user add", "folder"),
    ("user list", "folder"),
    ("user remove", "folder"),
    ("dkim new", "file"),
    ("queue restore", "folder"),
    ("dkim rotate", "file"),
    ("up", "taken lock"),
    ("up", "taken users"),
    ("up", "taken nats"),
]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("jetpost.cli.reach._CONNECT_S", 0.1)
    tmp_path.joinpath("good.yaml").write_text("nats: {servers: ['nats://127.0.0.1:1']}\n")
    tmp_path.joinpath("file").touch()
    tmp_path.joinpath("folder").mkdir()
    tmp_path.joinpath("loop").symlink_to("loop")
    for name, inside in (("lock", "up.lock"), ("users", "users/x"), ("nats", "nats")):
        place = tmp_path / f"taken {name}" / inside
        place.parent.mkdir(parents=True)
        place.mkdir() if name == "lock" else place.touch()
    locked = tmp_path / "locked"
    locked.mkdir(0)
    yield
    locked.chmod(0o700)


@pytest.mark.parametrize(("use", "path"), CASES)
def test_a_path_that_cannot_be_used_is_a_sentence(use: str, path: str) -> None:
    words = [word.replace("PATH", path) for word in USES[use]]
    for command in COMMANDS.values():
        pkgutil.resolve_name(command.place)  # while there are rights to read it
    with _without_rights() if path.startswith("locked") else nullcontext():
        done = CliRunner().invoke(app, words, input="secret\n")

    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    assert done.exit_code in {1, 2, 69, 78}
    told = done.stderr.strip().splitlines()
    assert told
    assert "Traceback" not in done.stderr
    known = ("cannot be read", "cannot use the data folder", "message to send", "cannot read the queue")
    assert any(word in done.stderr for word in (path[:20], *known))
