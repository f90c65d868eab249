"""`jetpost dkim rotate`: each call goes a step further, and one that is killed leaves what the next one can use."""

import asyncio
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from jetpost.cli.dkim.commands import dkim_app
from jetpost.cli.dkim.key_files import locked
from jetpost.sign.key_file import Notes, notes_of, with_notes
from jetpost.sign.keys import private_key
from jetpost.sign.record import record_text
from tests.fixtures.dkim import ed25519_pem, rsa_pem
from tests.fixtures.zone import ServedZone, served

LONG_AGO = datetime.now(UTC).replace(microsecond=0) - timedelta(days=30)
NAME = "new._domainkey.a.test"


@pytest.fixture
def zone() -> Iterator[ServedZone]:
    """Served by a thread of its own: these tests fork."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    serving = served()
    zone = asyncio.run_coroutine_threadsafe(serving.__aenter__(), loop).result(30)
    yield zone
    asyncio.run_coroutine_threadsafe(serving.__aexit__(None, None, None), loop).result(30)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(30)
    loop.close()


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    folder = tmp_path / "keys"
    folder.mkdir()
    old = folder / "old._domainkey.a.test.pem"
    old.write_bytes(ed25519_pem())
    old.chmod(0o640)
    (folder / "rsa._domainkey.a.test.pem").write_bytes(rsa_pem())
    (folder / "old._domainkey.b.test.pem").write_bytes(ed25519_pem(2))
    return folder


def run(folder: Path, zone: ServedZone, *more: str, selector: str = "new") -> Result:
    environ = {"JETPOST_DNS__NAMESERVERS": f'["{zone.address}"]', "JETPOST_DNS__LIFETIME_S": "2"}
    arguments = ["rotate", "a.test", selector, "--kind", "ed25519", "--folder", str(folder), *more]
    return CliRunner().invoke(dkim_app, arguments, env=environ)


def names(folder: Path) -> set[str]:
    return {it.name.partition("._domainkey")[0] for it in folder.glob("*.a.test.pem")}


def notes(folder: Path, selector: str) -> Notes:
    return notes_of((folder / f"{selector}._domainkey.a.test.pem").read_bytes())


def publish(folder: Path, zone: ServedZone) -> None:
    key = private_key((folder / f"{NAME}.pem").read_bytes())
    zone.add(NAME, txt=[record_text(key)], ttl=0)


def let_time_pass(folder: Path) -> None:
    """The old key was replaced long ago."""
    file = folder / "old._domainkey.a.test.pem"
    if file.exists() and notes(folder, "old").retired is not None:
        file.write_bytes(with_notes(file.read_bytes(), Notes(notes(folder, "old").replaces, LONG_AGO)))


def test_a_rotation_step_by_step(keys: Path, zone: ServedZone) -> None:
    made = run(keys, zone)
    assert made.exit_code == 1, made.output
    assert names(keys) == {"old", "rsa", "new"}
    assert notes(keys, "new") == Notes(frozenset({"old"})), "the key of another kind stays"
    file = keys / f"{NAME}.pem"
    assert file.stat().st_mode & 0o777 == 0o640, "whoever reads the old one reads the new one"
    assert f"publish: {NAME}. IN TXT" in made.stdout
    content = file.read_bytes()

    waiting = run(keys, zone)
    assert (waiting.exit_code, file.read_bytes()) == (1, content)
    assert f"{NAME}: no such record" in waiting.stdout
    assert notes(keys, "old").retired is None

    publish(keys, zone)
    replaced = run(keys, zone)
    assert replaced.exit_code == 0, replaced.output
    retired = notes(keys, "old").retired
    assert retired is not None
    until = retired + timedelta(days=12)  # queue.lifetime_s, and a week for verifiers
    assert f"keep the records of old until {until:%Y-%m-%d %H:%M} UTC" in replaced.stdout
    assert run(keys, zone).exit_code == 0
    assert notes(keys, "old").retired == retired

    let_time_pass(keys)
    done = run(keys, zone)
    assert done.exit_code == 0
    assert names(keys) == {"rsa", "new"}
    assert 'old._domainkey.a.test. IN TXT ( "v=DKIM1; p=" )' in done.stdout

    again = run(keys, zone)
    assert again.exit_code == 0
    assert "new signs for a.test" in again.stdout
    assert 'old._domainkey.a.test. IN TXT ( "v=DKIM1; p=" )' in again.stdout
    assert sorted(it.name for it in keys.iterdir()) == [
        f"{NAME}.pem",
        "old._domainkey.b.test.pem",
        "rsa._domainkey.a.test.pem",
    ]


CALLS = ("open", "write", "link", "replace", "unlink", "fsync", "fchmod", "fchown")


def killed_at(number: int, folder: Path, zone: ServedZone) -> bool:
    """Run it in a process that dies before the call `number` that changes files; False when it came to its end."""
    if (child := os.fork()) == 0:
        left = number

        def dying(name: str) -> Any:
            call = getattr(os, name)

            def instead(*arguments: Any, **named: Any) -> Any:
                nonlocal left
                if name != "open" or (arguments[1] & os.O_WRONLY):
                    if left == 0:
                        os._exit(9)
                    left -= 1
                return call(*arguments, **named)

            return instead

        for name in CALLS:
            setattr(os, name, dying(name))
        run(folder, zone)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.parametrize("step", ["make", "retire", "remove"])
def test_whichever_call_it_is_killed_before_the_next_run_goes_on(keys: Path, zone: ServedZone, step: str) -> None:
    def prepare() -> None:
        for file in [*keys.glob("*.a.test.pem"), *keys.glob(".*")]:
            file.unlink()
        (keys / "old._domainkey.a.test.pem").write_bytes(ed25519_pem())
        if step != "make":
            run(keys, zone)
            publish(keys, zone)
        if step == "remove":
            run(keys, zone)
            let_time_pass(keys)

    number, is_killed = 0, True
    while is_killed:
        prepare()
        is_killed = killed_at(number, keys, zone)
        number += 1
        for file in keys.glob("*.pem"):
            assert private_key(file.read_bytes()), "each file is whole"
        assert step == "remove" or "old" in names(keys)
        if step == "make":
            run(keys, zone)
            publish(keys, zone)
        run(keys, zone)
        let_time_pass(keys)
        assert run(keys, zone).exit_code == 0
        assert names(keys) == {"new"}
        assert not list(keys.glob(".*")), "nothing is left over"
    assert number > 2, "it was killed"


def test_two_at_a_time_are_one(keys: Path, zone: ServedZone) -> None:
    with locked(keys):
        refused = run(keys, zone)

    assert refused.exit_code == 1
    assert "another command" in refused.output
    assert names(keys) == {"old", "rsa"}


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("rotate", "c.test", "new"), "has no rsa key to replace"),
        (("rotate", "-", "new"), "is no domain"),
        (("rotate", "a.test", "a b"), "is no selector"),
    ],
)
def test_what_cannot_be_is_said(keys: Path, arguments: tuple[str, ...], why: str) -> None:
    done = CliRunner().invoke(dkim_app, [*arguments, "--folder", str(keys)])

    assert done.exit_code == 1
    assert why in done.output


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path, zone: ServedZone) -> None:
    """As a Secret that is mounted into a pod; root may write everywhere, so here it is missing."""
    done = run(tmp_path / "missing", zone)

    assert done.exit_code == 1
    assert "cannot change the keys: " in done.output


def test_nothing_is_removed_while_the_queue_does_not_answer(keys: Path, zone: ServedZone, tmp_path: Path) -> None:
    old = keys / "old._domainkey.a.test.pem"
    old.write_bytes(with_notes(ed25519_pem(), Notes(retired=LONG_AGO)))
    (keys / f"{NAME}.pem").write_bytes(with_notes(ed25519_pem(1), Notes(frozenset({"old"}))))
    publish(keys, zone)
    file = tmp_path / "jetpost.yaml"
    file.write_text(yaml.safe_dump({"dkim": {"folder": str(keys)}}))
    environ = {"JETPOST_DNS__NAMESERVERS": f'["{zone.address}"]', "JETPOST_NATS__SERVERS": '["nats://127.0.0.1:1"]'}

    done = CliRunner().invoke(dkim_app, ["rotate", "a.test", "new", "--config", str(file)], env=environ)
    assert done.exit_code == 69
    assert "cannot read the queue" in done.output
    assert old.exists()


def test_the_old_key_stays_while_the_record_of_the_new_one_is_gone(keys: Path, zone: ServedZone) -> None:
    run(keys, zone)
    publish(keys, zone)
    assert run(keys, zone).exit_code == 0
    let_time_pass(keys)

    zone.fail(NAME)
    assert run(keys, zone).exit_code == 1
    assert notes(keys, "old").retired == LONG_AGO, "nobody knows"
    zone.remove(NAME)
    gone = run(keys, zone)
    assert gone.exit_code == 1
    assert "old signs again" in gone.stdout
    assert notes(keys, "old").retired is None

    publish(keys, zone)
    assert run(keys, zone).exit_code == 0
    retired = notes(keys, "old").retired
    assert retired is not None
    assert retired > LONG_AGO, "it has signed in the meantime"


def test_another_rotation_may_begin_before_one_has_ended(keys: Path, zone: ServedZone) -> None:
    run(keys, zone)
    publish(keys, zone)
    assert run(keys, zone).exit_code == 0

    assert run(keys, zone, selector="newer").exit_code == 1

    assert notes(keys, "newer") == Notes(frozenset({"new"}))
    shown = CliRunner().invoke(
        dkim_app,
        ["check", "a.test"],
        env={"JETPOST_DKIM__FOLDER": str(keys), "JETPOST_DNS__NAMESERVERS": f'["{zone.address}"]'},
    )
    states = dict(re.findall(r"^(\w+)\._domainkey\.a\.test: .*; (\w+)", shown.stdout, re.MULTILINE))
    assert states == {"old": "retired", "new": "signs", "newer": "waiting", "rsa": "signs"}, shown.output
    assert re.search(r"old\.\S+ no such record; retired, keep its record until \d{4}-", shown.stdout)


@pytest.mark.parametrize("is_published", [False, True])
@pytest.mark.parametrize("replaces", [frozenset({"lost"}), frozenset({"lost", "gone"})])
def test_a_lost_file_is_said_and_its_record_stays(
    keys: Path, zone: ServedZone, replaces: frozenset[str], *, is_published: bool
) -> None:
    """The new key replaces one whose file was removed by accident, beside the old one that signs."""
    file = keys / f"{NAME}.pem"
    file.write_bytes(with_notes(ed25519_pem(1), Notes(replaces)))
    if is_published:
        publish(keys, zone)

    done = run(keys, zone)

    assert done.exit_code == 1
    for name in replaces:
        assert f"the file of {name} is missing: {keys / name}._domainkey.a.test.pem" in done.output
        assert f"keep the record of {name}: queued messages may be signed with it" in done.output
    assert "revoke" not in done.output
    assert "keep the records for 12 more days" in done.output
    assert f"`Removed: {' '.join(sorted(replaces))}`" in done.output
    assert "To replace old as well" in done.output
    assert ("publish: " in done.output) is not is_published
    assert names(keys) == {"old", "rsa", "new"}

    # It is done as the command says it.
    publish(keys, zone)
    file.write_bytes(f"Removed: {' '.join(replaces)}\nReplaces: {' '.join(replaces)} old\n".encode() + ed25519_pem(1))
    assert re.search(r"keep the records of old until \d{4}-", run(keys, zone).stdout)
    let_time_pass(keys)
    over = run(keys, zone)
    assert over.exit_code == 0, over.output
    assert names(keys) == {"rsa", "new"}
    assert notes(keys, "new") == Notes(replaces | {"old"}, removed=replaces | {"old"})
    assert 'old._domainkey.a.test. IN TXT ( "v=DKIM1; p=" )' in over.stdout


def test_a_file_that_is_put_back_goes_on(keys: Path, zone: ServedZone) -> None:
    run(keys, zone)
    publish(keys, zone)
    lost = keys / "old._domainkey.a.test.pem"
    content = lost.read_bytes()
    lost.unlink()
    assert "the file of old is missing" in run(keys, zone).output

    lost.write_bytes(content)
    again = run(keys, zone)

    assert again.exit_code == 0, again.output
    assert "old is replaced: new signs" in again.stdout


@pytest.mark.parametrize("replaces", [(), ("old",)])
def test_keys_of_the_configuration_are_moved_as_it_says(
    tmp_path: Path, zone: ServedZone, replaces: tuple[str, ...]
) -> None:
    """The commands that are printed are run as they are."""
    place = tmp_path / "a place"
    place.mkdir()
    for number, name in enumerate(("old", "ed", "other")):
        (place / f"{name}.pem").write_bytes(ed25519_pem(number))
    entries = [
        {"domain": "a.test", "selector": "old", "file": str(place / "old.pem")},
        {"domain": "a.test", "selector": "ed", "file": str(place / "ed.pem"), "replaces": list(replaces)},
        {"domain": "b.test", "selector": "old", "file": str(place / "other.pem")},
    ]
    file = tmp_path / "jetpost.yaml"
    file.write_text(yaml.safe_dump({"dkim": {"keys": entries}}))
    environ = {"JETPOST_DNS__NAMESERVERS": f'["{zone.address}"]'}

    def command(*words: str) -> Result:
        return CliRunner().invoke(dkim_app, [*words, "--config", str(file)], env=environ)

    before = command("show", "a.test").stdout
    told = command("rotate", "a.test", "new", "--kind", "ed25519")
    assert told.exit_code == 1
    assert "b.test" not in told.output

    for line in told.stderr.splitlines():
        if line.startswith("  "):
            subprocess.run(line, shell=True, check=True)  # noqa: S602 — that is what is tried
    folder = re.search(r"`dkim.folder: (.*)`, and", told.stderr)
    assert folder is not None
    file.write_text(yaml.safe_dump({"dkim": {"keys": entries[2:], "folder": folder[1]}}))
    assert sorted(command("show", "a.test").stdout.splitlines()) == sorted(before.splitlines())
    assert notes(Path(folder[1]), "ed") == Notes(frozenset(replaces))
    going_on = command("rotate", "a.test", "new", "--kind", "ed25519")
    assert f"publish: {NAME}" in going_on.stdout


def test_without_any_key_only_the_folder_is_missing(tmp_path: Path) -> None:
    (file := tmp_path / "jetpost.yaml").write_text("hostname: mx.test\n")

    told = CliRunner().invoke(dkim_app, ["rotate", "a.test", "new", "--config", str(file)])

    assert (told.exit_code, "dkim.keys" in told.output) == (1, False)
    assert "set `dkim.folder`" in told.output
