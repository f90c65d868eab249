"""`jetpost up`: the whole system on this machine."""

import asyncio
import fcntl
import os
import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from jetpost.cli.reach import DATA, ConfigOption, settings_for
from jetpost.config.load import SECTIONS
from jetpost.reason import reason_of
from jetpost.telemetry.log import Log, configure
from jetpost.up import first_start
from jetpost.up.nats.recovery import Refused
from jetpost.up.settings import Up
from jetpost.up.system import System

EXIT_REFUSED = 78
"""Of services, too, when starting again unchanged is pointless."""


def up(
    config: ConfigOption = None,
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="Folder for everything that must last.")] = DATA,
    ingress: Annotated[int | None, typer.Option(min=1, help="Ingress processes.")] = None,
    delivery: Annotated[int | None, typer.Option(min=1, help="Delivery processes.")] = None,
    forget: Annotated[
        list[str] | None, typer.Option(metavar="STREAM", help="Begin without this stream: what was in it is lost.")
    ] = None,
) -> None:
    """Run nats-server, ingress, delivery and bouncer as processes of this machine, until Ctrl-C, SIGTERM or SIGHUP.

    Everything that must last is in the folder DIR. Without --config, DIR/jetpost.yaml is used, and made for a first
    try when it does not exist.
    """
    data = Path(os.path.realpath(data))
    with _told(f"cannot use the data folder {data}"):
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone_in(data):
        if config is None:
            config = data / first_start.CONFIGURATION
            with _told(f"cannot prepare the data folder {data}"):
                if not config.exists():
                    typer.echo(first_start.prepare(data))
        settings = settings_for(config, data, *SECTIONS)
        configure("up", settings.of(Log))
        counts = {name: count for name, count in (("ingress", ingress), ("delivery", delivery)) if count is not None}
        wanted = settings.of(Up).model_copy(update=counts)
        typer.echo(f"Jetpost at {settings.hostname}, configuration {config}, data {data}")
        for listener in settings.of(pkgutil.resolve_name(SECTIONS["ingress"])).listeners:
            typer.echo(f"  {listener.name:<12} {listener.host}:{listener.port}, tls: {listener.tls}")
        with _told("cannot start"):
            system = System(data, Path(os.path.realpath(config)), wanted, _say, forget or ())
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            try:
                runner.run(system.run())
            except Refused as refused:
                typer.echo(f"refused to run: {reason_of(refused)}", err=True)
                raise typer.Exit(EXIT_REFUSED) from None


def _say(line: str) -> None:
    """Print a line. When the terminal is closed it is lost: the system stops in order all the same."""
    with suppress(OSError):
        typer.echo(line)


@contextmanager
def _alone_in(data: Path) -> Iterator[None]:
    """Hold the data folder: two systems in one folder would share a queue's files."""
    with _told(f"cannot use the data folder {data}"):
        lock = os.open(data / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        typer.echo(f"another `jetpost up` runs in {data}", err=True)
        raise typer.Exit(1) from None
    try:
        yield
    finally:
        os.close(lock)


@contextmanager
def _told(cannot: str) -> Iterator[None]:
    """An OSError in the block is a sentence that begins with `cannot`, and exit status 1."""
    try:
        yield
    except OSError as error:
        typer.echo(f"{cannot}: {reason_of(error)}", err=True)
        raise typer.Exit(1) from None
