"""Key files that a command writes: whole, or not at all."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_UNFINISHED = ".new"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """No other command changes the folder while the block runs. BlockingIOError: one does. OSError: there is none.

    What an interrupted command left there is removed.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for left in folder.glob(f".*{_UNFINISHED}"):
            left.unlink()
        yield
    finally:
        os.close(descriptor)


def create(file: Path, content: bytes, like: Path) -> None:
    """A new file, with the owner and mode of another one. FileExistsError: it is there, and stays as it is."""
    unfinished = _written(file, content, like)
    try:
        os.link(unfinished, file)
    finally:
        unfinished.unlink()
    _sync(file.parent)


def replace(file: Path, content: bytes) -> None:
    """Other content of a file."""
    file = file.resolve()
    _written(file, content, file).replace(file)
    _sync(file.parent)


def remove(file: Path) -> None:
    """Delete a file."""
    file.unlink(missing_ok=True)
    _sync(file.parent)


def _written(file: Path, content: bytes, like: Path) -> Path:
    unfinished = file.with_name(f".{file.name}{_UNFINISHED}")
    unfinished.unlink(missing_ok=True)
    wanted = like.stat()
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(content)
        with suppress(PermissionError):  # only root gives files away
            os.fchown(stream.fileno(), wanted.st_uid, wanted.st_gid)
        os.fchmod(stream.fileno(), wanted.st_mode & 0o777)
        stream.flush()
        os.fsync(stream.fileno())
    return unfinished


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
