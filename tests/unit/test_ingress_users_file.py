"""The backend that reads a users file."""

from pathlib import Path

import pytest

from ingress.auth.identity import Identity, Unavailable, Unknown, Wrong
from ingress.auth.mechanisms import Credentials
from ingress.auth.users_file import UsersFile, UsersFileSettings
from jetpost.users import set_password
from tests.fixtures.users import PASSWORD, USER, write_users

RIGHT = Credentials(USER, PASSWORD)
KNOWN = Identity(USER)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_users(tmp_path / "users")


def spoil(file: Path) -> None:
    file.write_text("no users file\n")


def remove(file: Path) -> None:
    file.unlink()


def move(file: Path, to: Path) -> None:
    file.rename(to)


def backend(file: Path) -> UsersFile:
    return UsersFileSettings(kind="users_file", path=file).backend()


async def test_who_knows_the_password_is_known(file: Path) -> None:
    users = backend(file)

    assert await users.answer(RIGHT) == KNOWN
    assert await users.answer(RIGHT) == KNOWN
    assert await users.answer(Credentials(USER, "wrong")) == Wrong()
    assert await users.answer(Credentials(USER, "")) == Wrong()
    assert await users.answer(Credentials("nobody", PASSWORD)) == Unknown()


async def test_a_changed_file_counts_at_once_whatever_is_remembered(file: Path) -> None:
    users = backend(file)
    assert await users.answer(RIGHT) == KNOWN

    set_password(file, USER, "another one")

    assert await users.answer(RIGHT) == Wrong()
    assert await users.answer(Credentials(USER, "another one")) == KNOWN


async def test_a_file_that_cannot_be_read_leaves_the_users_of_before(file: Path) -> None:
    users = backend(file)
    assert await users.answer(RIGHT) == KNOWN

    spoil(file)
    assert await users.answer(RIGHT) == KNOWN

    remove(file)
    assert await users.answer(RIGHT) == KNOWN


async def test_a_file_that_was_never_read_makes_nobody_wrong(file: Path) -> None:
    users = backend(file)
    aside = file.with_name("aside")

    move(file, aside)
    assert isinstance(await users.answer(RIGHT), Unavailable)

    move(aside, file)
    assert await users.answer(RIGHT) == KNOWN
