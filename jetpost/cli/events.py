"""`jetpost events`: follow what happens to messages."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, assert_never

import typer
from rich.console import Console
from rich.text import Text

from jetpost.cli.reach import DATA, ConfigOption, DataOption, finish, jetstream, settings_for
from jetpost.cli.terminal import visible, visible_json
from jetpost.events.follow import follow
from jetpost.events.record import (
    Bounced,
    Deferred,
    Delivered,
    Discarded,
    Event,
    Expired,
    Received,
    SenderWarned,
    encode,
)
from jetpost.jetstream.settings import Nats

_SPAN = re.compile(r"([0-9]{1,7})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_STYLES: dict[type, tuple[str, str]] = {
    Received: ("received", "cyan"),
    Delivered: ("delivered", "green"),
    Discarded: ("discarded", "magenta"),
    Deferred: ("deferred", "yellow"),
    Bounced: ("bounced", "red"),
    Expired: ("expired", "red"),
    SenderWarned: ("sender_warned", "yellow"),
}
_WIDTH = max(len(name) for name, _ in _STYLES.values())


def span(text: str) -> timedelta:
    """`90s`, `15m`, `2h` or `7d` as a time span; anything else is refused."""
    found = _SPAN.fullmatch(text)
    if found is None:
        raise typer.BadParameter("expected a number with s, m, h or d, such as 15m")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def events(
    config: ConfigOption = None,
    data: DataOption = DATA,
    since: Annotated[
        timedelta | None, typer.Option(parser=span, metavar="SPAN", help="Begin that long ago, such as 15m or 2h.")
    ] = None,
    kind: Annotated[str, typer.Option("--event", help="Only this kind: received, delivered, deferred, …")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Follow what happens to messages, until interrupted."""
    names = [name for name, _ in _STYLES.values()]
    if kind and kind not in names:
        raise typer.BadParameter(f"there are {', '.join(names)}", param_hint="--event")
    try:
        finish(_follow(config, data, since, kind, as_json=as_json))
    except KeyboardInterrupt:
        return


async def _follow(config: Path | None, data: Path, since: timedelta | None, kind: str, *, as_json: bool) -> None:
    settings = settings_for(config, data, "nats")
    console = Console()
    start = None if since is None else datetime.now(UTC) - since
    async with jetstream(settings.of(Nats)) as connected:
        try:
            async for event in follow(connected, start):
                if kind and _STYLES[type(event)][0] != kind:
                    continue
                if as_json:
                    typer.echo(visible_json(encode(event).decode()))
                else:
                    console.print(_line(event), soft_wrap=True)
        except asyncio.CancelledError:
            return


def _line(event: Event) -> Text:
    """The event for people: time, kind, queue id, who, what."""
    name, style = _STYLES[type(event)]
    line = Text(f"{event.time.astimezone():%H:%M:%S} ")
    line.append(f"{name:<{_WIDTH}}  ", style=style)
    line.append(f"{visible(event.queue_id)}  ", style="dim")
    line.append(visible(_told(event)))
    return line


def _told(event: Event) -> str:
    match event:
        case Received(recipients=recipients, size=size):
            return f"{event.reverse_path or '<>'} → {', '.join(recipients)}, {size} bytes"
        case Delivered(recipient=recipient, host=host, seconds=seconds, route=route, port=port):
            at = f"{host}:{port}" if port else host
            return f"{recipient} at {at}{_by(route)} after {seconds:.2f} s"
        case Discarded(recipient=recipient, why=why):
            return f"{recipient}: {why}"
        case Deferred() | Bounced() | Expired():
            return f"{event.recipient}{_by(event.route)} ({event.status}) {event.why}"
        case SenderWarned(author=author, faults=faults, why=why):
            return f"{author or event.reverse_path or '<>'}: {', '.join(faults)}: {why}"
        case unknown:
            assert_never(unknown)


def _by(route: str) -> str:
    return f" by route {route}" if route else ""
