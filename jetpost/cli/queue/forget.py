"""`jetpost queue forget`: the queue begins without a stream that it had."""

from typing import Annotated

import typer

from jetpost.cli.reach import finish, jetstream
from jetpost.jetstream.settings import Nats
from jetpost.queue.integrity.made import Made


def forget(
    context: typer.Context,
    streams: Annotated[list[str], typer.Argument(metavar="STREAM…", help="MAIL, MAIL-1, CONTENT, EVENTS.")],
) -> None:
    """Begin without streams that are missing, or end earlier than they did: what was in them is lost.

    Services refuse to start until this is said, or the streams are back. Status 1 when one of them is not known.
    """

    async def ask() -> list[str]:
        async with jetstream(context.obj.of(Nats)) as connected:
            return await Made(connected).forget(streams)

    forgotten = finish(ask())
    for name in forgotten:
        typer.echo(f"{name} is forgotten; the next service that starts creates it again")
    for name in sorted(set(streams).difference(forgotten)):
        typer.echo(f"{name} is not a stream that the queue had", err=True)
    if set(streams) != set(forgotten):
        raise typer.Exit(1)
