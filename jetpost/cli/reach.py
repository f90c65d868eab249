"""How a command reaches the system it is about: a configuration, or the data folder of `jetpost up`."""

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from jetpost.cli.terminal import visible
from jetpost.config import document
from jetpost.config.environment import FILE_VARIABLE, PREFIX, is_set
from jetpost.config.load import ConfigurationError, Settings, load
from jetpost.config.refused import Unsafe
from jetpost.jetstream.connection import JetStream, connected
from jetpost.jetstream.errors import ApiError, Unreachable
from jetpost.jetstream.settings import Nats
from jetpost.queue.provision.settings import QueueSettings
from jetpost.queue.queue import Queue, opened
from jetpost.queue.storage.shard import Shard
from jetpost.reason import reason_of
from jetpost.telemetry.log import Log, configure
from jetpost.up import state

DATA = Path("data")
"""The data folder when none is named."""
EXIT_CONFIGURATION = 78
EXIT_UNREACHABLE = 69
"""EX_UNAVAILABLE of sysexits.h."""
NAME_ONE = (
    "name a configuration with --config or JETPOST_CONFIG, or with --data the folder of a system under `jetpost up`"
)
_DEFAULTS = {
    "nats": f"NATS {', '.join(Nats().servers)}",
    "delivery": "no routes",
    "dkim": "no DKIM keys",
    "dns": "the name servers of this machine",
}
"""What a command without a configuration goes by, for people."""
_NATS_VARIABLES = (f"{PREFIX}NATS", f"{PREFIX}NATS__SERVERS", f"{PREFIX}NATS__SERVERS__0")
_CONNECT_S = 5
_OPEN_S = 10

ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", envvar=FILE_VARIABLE, help="Configuration (YAML).")
]
DataOption = Annotated[Path, typer.Option("--data", metavar="DIR", help="Data folder of a system under `jetpost up`.")]
R = TypeVar("R")


def sources(config: Path | None, data: Path) -> tuple[Path | None, dict[str, str]]:
    """Where the configuration comes from: the file, if there is one, and the environment.

    Without a file it is that of the system in the folder `data`. A file of a system under `jetpost up` leads to that
    system's queue, unless the file or the environment says where NATS is.
    """
    if config is None:
        running = state.read(data)
        config = Path(running.config) if running and running.config else None
    else:
        running = None if _file_names_servers(config) else _run_with(config, data)
    leads = running is not None and not any(it in os.environ for it in _NATS_VARIABLES)
    return config, {**(running.environment() if running and leads else {}), **os.environ}


def _run_with(config: Path, data: Path) -> state.Running | None:
    """The system that runs with that file, or ran last: in `data`, or in the folder where the file is."""
    file = Path(os.path.realpath(config))
    found = (state.read(folder) for folder in (data, config.parent, file.parent))
    return next((it for it in found if it is not None and it.config == str(file)), None)


def _file_names_servers(config: Path) -> bool:
    """Whether a file says where NATS is. Other servers than that of `jetpost up` never get its password."""
    try:
        nats = document.read(config.read_text(encoding="utf-8")).data.get("nats")
    except (OSError, UnicodeDecodeError):
        return False  # whoever loads it says so
    return isinstance(nats, dict) and "servers" in nats


def defaults_used(config: Path | None, data: Path, sections: Iterable[str]) -> str:
    """The sentence for who is answered from the defaults, as nothing configures one of `sections`; else ""."""
    _, environ = sources(config, data)
    if config is not None or state.read(data) is not None or is_set(environ, sections):
        return ""
    defaults = ", ".join(text for section, text in _DEFAULTS.items() if section in sections)
    where = data if data.is_absolute() else f"./{data}"
    return f"no system in {where} and no --config: the defaults are used ({defaults}); {NAME_ONE}"


def settings_for(config: Path | None, data: Path, *sections: str) -> Settings:
    """The configuration FILE, else that of the system in the folder `data`, else the defaults; with the environment.

    Mistakes are printed and end the command with status 78. That the defaults alone count is said on stderr.
    """
    if alone := defaults_used(config, data, sections):
        typer.echo(visible(alone), err=True)
    file, environ = sources(config, data)
    try:
        return load(file, environ, sections=sections)
    except ConfigurationError as error:
        for problem in error.problems:
            typer.echo(problem, err=True)
        raise typer.Exit(EXIT_CONFIGURATION) from None


def jetstream(settings: Nats) -> AbstractAsyncContextManager[JetStream]:
    """A connection for the length of one command; Unreachable when nobody answers within seconds."""
    return connected(settings, "jetpost command", patience_s=_CONNECT_S)


@asynccontextmanager
async def looking(settings: Settings) -> AsyncIterator[Queue]:
    """The queue to look at: nothing is made, changed or consumed."""
    async with jetstream(settings.of(Nats)) as connection:
        wanted = settings.of(QueueSettings)
        yield Queue(connection, wanted, [Shard(number, connection) for number in range(wanted.shards)])


@asynccontextmanager
async def changing(settings: Settings) -> AsyncIterator[Queue]:
    """The queue to change something in, checked and made as by a service. Unsafe: it would not keep its promise."""
    async with (
        jetstream(settings.of(Nats)) as connection,
        opened(connection, settings.of(QueueSettings), patience_s=_OPEN_S) as queue,
    ):
        yield queue


def finish(asking: Coroutine[Any, Any, R]) -> R:
    """Run one command to its end, with its answer as its only output.

    A queue that cannot be asked is a sentence and status 69, not a traceback.
    """
    configure("jetpost", Log(level="error"))
    try:
        return asyncio.run(asking)
    except (Unreachable, ApiError) as error:
        typer.echo(f"cannot read the queue: {reason_of(error)}", err=True)
        raise typer.Exit(EXIT_UNREACHABLE) from None
    except Unsafe as error:
        typer.echo(reason_of(error), err=True)
        raise typer.Exit(EXIT_CONFIGURATION) from None
