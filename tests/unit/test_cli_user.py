"""`jetpost user`: the users file is changed line by line, and never lost."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from jetpost.cli.user import user_app
from jetpost.users import is_right, read_users


def run(*arguments: str | Path, told: str = "") -> Result:
    return CliRunner().invoke(user_app, [str(argument) for argument in arguments], input=told)


def test_a_user_is_added_to_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    file = tmp_path / "users"

    assert run("add", file, "ann", "--password-stdin", told="a secret\n").exit_code == 0

    assert file.stat().st_mode & 0o777 == 0o600
    assert is_right(read_users(file)["ann"], "a secret")
    assert "secret" not in file.read_text()


def test_a_hash_is_printed_for_a_file_kept_elsewhere(tmp_path: Path) -> None:
    printed = run("hash", "--password-stdin", told="a secret\n")

    assert printed.exit_code == 0
    assert is_right(printed.stdout.strip(), "a secret")
    assert run("hash", "--password-stdin", told="\n").exit_code == 1


def test_a_changed_password_leaves_the_rest_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_text("# ours\nann:$argon2id$old\nbob:$argon2id$his\n")
    file.chmod(0o640)

    assert "password changed" in run("add", file, "ann", told="new\nnew\n").output

    lines = file.read_text().splitlines()
    assert [lines[0], lines[2]] == ["# ours", "bob:$argon2id$his"]
    assert is_right(read_users(file)["ann"], "new")
    assert file.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [file]


def test_users_are_listed_and_removed(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_text("bob:$argon2id$his\nann:$argon2id$hers\n")

    assert run("list", file).output.split() == ["ann", "bob"]
    assert run("remove", file, "bob").exit_code == 0
    assert run("list", file).output.split() == ["ann"]
    assert run("remove", file, "bob").exit_code == 1


@pytest.mark.parametrize(("name", "password"), [("a:b", "x"), ("#ann", "x"), ("ann", "")])
def test_what_makes_no_user_is_refused(tmp_path: Path, name: str, password: str) -> None:
    refused = run("add", tmp_path / "users", name, "--password-stdin", told=f"{password}\n")

    assert refused.exit_code == 1
    assert list(tmp_path.iterdir()) == []
