"""`jetpost store`: look at the files of a nats-server that does not run."""

from pathlib import Path
from typing import Annotated

import typer

from jetpost.store.check import MOST_FAULTS, RUNBOOK, faults
from jetpost.store.mend import mend

EXIT_DAMAGED = 78

store_app = typer.Typer(no_args_is_help=True, add_completion=False)


@store_app.callback()
def store() -> None:
    """Look at the files of a nats-server that does not run."""


@store_app.command()
def check(folder: Annotated[Path, typer.Argument(metavar="DIR", help="The server's `store_dir`.")]) -> None:
    """Look whether nats-server can open all that is in DIR; exit status 78 when it cannot.

    Run it as the server's user, while the server does not run. A checksum of a stream's configuration that a kill kept
    the server from writing is written.
    """
    found = faults(folder)
    for fault in found:
        typer.echo(str(fault), err=True)
    if len(found) == MOST_FAULTS:
        typer.echo(f"… stopped after {MOST_FAULTS} faults", err=True)
    if found:
        typer.echo(f"{folder}: nats-server must not start on this: see {RUNBOOK}", err=True)
        raise typer.Exit(EXIT_DAMAGED)
    for stream in mend(folder):
        typer.echo(f"stream {stream}: the checksum of its configuration was not written to the end, and is now")
    typer.echo(f"{folder}: no faults")
