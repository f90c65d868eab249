"""The backend that reads a users file."""

from pathlib import Path

import pytest

from ingress.auth.mechanisms import Credentials
from ingress.auth.users_file import UsersFile, UsersFileSettings
from jetpost.users import set_password
from tests.fixtures.users import PASSWORD, USER, write_users

RIGHT = Credentials(USER, PASSWORD)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_users(tmp_path / "users")


def spoil(file: Path) -> None:
    file.write_text("no users file\n")


def remove(file: Path) -> None:
    file.unlink()


def backend(file: Path) -> UsersFile:
    return UsersFileSettings(kind="users_file", path=file).backend()


async def test_who_knows_the_password_is_known(file: Path) -> None:
    users = backend(file)

    assert await users.identify(RIGHT) == USER
    assert await users.identify(RIGHT) == USER
    for wrong in (Credentials(USER, "wrong"), Credentials("nobody", PASSWORD), Credentials(USER, "")):
        assert await users.identify(wrong) is None


async def test_a_changed_file_counts_at_once_whatever_is_remembered(file: Path) -> None:
    users = backend(file)
    assert await users.identify(RIGHT) == USER

    set_password(file, USER, "another one")

    assert await users.identify(RIGHT) is None
    assert await users.identify(Credentials(USER, "another one")) == USER


async def test_a_file_that_cannot_be_read_leaves_the_users_of_before(file: Path) -> None:
    users = backend(file)
    assert await users.identify(RIGHT) == USER

    spoil(file)
    assert await users.identify(RIGHT) == USER

    remove(file)
    assert await users.identify(RIGHT) == USER
