"""`jetpost queue content`: what is kept by reference, beside the entries."""

import json
from typing import Annotated

import typer

from jetpost.cli.reach import finish, looking
from jetpost.queue.maintenance.contents import Contents, contents
from jetpost.queue.queue import Queue


def content(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a line.")] = False,
) -> None:
    """Count what large messages keep beside their entries, and what of it no entry needs."""

    async def ask() -> Contents:
        async with looking(context.obj) as queue:
            return await held(queue)

    found = finish(ask())
    typer.echo(json.dumps(record(found)) if as_json else line(found))


async def held(queue: Queue) -> Contents:
    """What CONTENT holds. Unreachable or ApiError: nobody can say."""
    return await contents(queue.shards[0].jetstream)


def line(held: Contents) -> str:
    """As a sentence for a person."""
    return (
        f"Content by reference: contents {held.contents}, without an entry {held.unneeded}, "
        f"messages {held.messages}, bytes {held.size}"
    )


def record(held: Contents) -> dict[str, int]:
    """The same for programs."""
    return {
        "contents": held.contents,
        "without_entry": held.unneeded,
        "messages": held.messages,
        "bytes": held.size,
    }
