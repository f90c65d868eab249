"""`jetpost queue backup` and `restore`: the queue as a file, and back."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from jetpost.cli.reach import changing, finish, looking
from jetpost.queue import backup
from jetpost.reason import reason_of

_STREAM = "-"

FileArgument = Annotated[str, typer.Argument(metavar="FILE", help="A tar archive; - is standard output or input.")]


def back_up(context: typer.Context, file: FileArgument) -> None:
    """Write every entry with its content to FILE, beside the running services."""

    async def ask(archive: BinaryIO) -> int:
        async with looking(context.obj) as queue:
            return await backup.back_up(queue, archive)

    try:
        with _whole_or_not_at_all(file) as archive:
            entries = finish(ask(archive))
    except OSError as error:
        typer.echo(f"{file}: {error.strerror or reason_of(error)}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"{entries} entries backed up", err=True)


def restore(context: typer.Context, file: FileArgument) -> None:
    """Put the entries of a backup into the queue. What is there already stays as it is; it may be repeated."""

    async def ask(archive: BinaryIO) -> backup.Restored:
        async with changing(context.obj) as queue:
            return await backup.restore(queue, archive)

    try:
        if file == _STREAM:
            done = finish(ask(sys.stdin.buffer))
        else:
            with Path(file).open("rb") as archive:
                done = finish(ask(archive))
    except backup.Unusable as error:
        typer.echo(f"{file}: {reason_of(error)}", err=True)
        raise typer.Exit(1) from error
    except OSError as error:
        typer.echo(f"{file}: {error.strerror or reason_of(error)}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"{done.entries} entries restored, {done.there_already} were there already", err=True)


@contextmanager
def _whole_or_not_at_all(file: str) -> Iterator[BinaryIO]:
    """A file to write to that gets its name when it is complete and on disk; standard output has no such grace."""
    if file == _STREAM:
        yield sys.stdout.buffer
        return
    unfinished = Path(f"{file}.unfinished")
    try:
        with unfinished.open("wb") as archive:
            unfinished.chmod(0o600)
            yield archive
            archive.flush()
            os.fsync(archive.fileno())
        unfinished.rename(file)
    finally:
        unfinished.unlink(missing_ok=True)
