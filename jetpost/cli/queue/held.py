"""`jetpost queue release`, `delete` and `export`: what an operator does about entries that are held."""

import base64
import json
from typing import Annotated, Any

import typer

from jetpost.cli.reach import changing, finish, looking
from jetpost.cli.terminal import visible
from jetpost.queue import operate
from jetpost.queue.listing import called
from jetpost.queue.model.names import is_queue_id
from jetpost.queue.model.states import State
from jetpost.queue.model.unreadable import Unreadable
from jetpost.queue.queue import Queue
from jetpost.queue.storage.shard import Found, Shard, StoredEntry

QueueIds = Annotated[list[str], typer.Argument(metavar="QUEUE_ID…", help="Held entries.")]


def release(
    context: typer.Context,
    queue_ids: Annotated[list[str] | None, typer.Argument(metavar="QUEUE_ID…", help="Held entries.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every held entry.")] = False,
) -> None:
    """Give held entries back to delivery, or to the bouncer when their recipients failed."""
    if every == bool(queue_ids):
        raise typer.BadParameter("give queue ids, or --all")
    wanted = set(queue_ids or ())

    async def ask() -> tuple[list[str], list[str]]:
        released: list[str] = []
        unreadable: list[str] = []
        async with changing(context.obj) as queue:
            for shard, found in await _held(queue, wanted, every=every):
                if isinstance(found, Unreadable):
                    unreadable.append(found.queue_id)
                elif await operate.release(queue, shard, found):
                    released.append(found.entry.queue_id)
        return released, unreadable

    released, unreadable = finish(ask())
    for queue_id in released:
        typer.echo(f"{queue_id} is released")
    for queue_id in unreadable:
        typer.echo(f"{queue_id} cannot be read by this version: export or delete it", err=True)
    _complain_of(wanted.difference(released, unreadable), failed=bool(unreadable))


def delete(context: typer.Context, queue_ids: QueueIds) -> None:
    """Delete held entries for good: nobody gets the message, and nobody is told."""
    wanted = set(queue_ids)

    async def ask() -> list[str]:
        async with changing(context.obj) as queue:
            held = await _held(queue, wanted, every=False)
            return [_name(found) for shard, found in held if await operate.discard(queue, shard, found)]

    deleted = finish(ask())
    for queue_id in deleted:
        typer.echo(f"{queue_id} is deleted")
    _complain_of(wanted.difference(deleted), failed=False)


def export(
    context: typer.Context,
    queue_id: Annotated[str, typer.Argument(metavar="QUEUE_ID", help="An entry, readable or not.")],
) -> None:
    """Print what lies under a queue id as JSON lines: subject, and the bytes of headers and payload in base64."""

    async def ask() -> list[dict[str, Any]]:
        async with looking(context.obj) as queue:
            found = await called(queue, queue_id) if is_queue_id(queue_id) else []
            return [await _raw(queue.shards[number], each) for number, each in found]

    lines = [line for line in finish(ask()) if line]
    for line in lines:
        typer.echo(json.dumps(line))
    if not lines:
        typer.echo(f"{visible(queue_id)} is not in the queue", err=True)
        raise typer.Exit(1)


async def _held(queue: Queue, wanted: set[str], *, every: bool) -> list[tuple[Shard, Found]]:
    """The held ones that are wanted; and those wanted that nobody takes, as no state has their subject."""
    if every:
        return [(shard, found) for shard in queue.shards async for found in shard.walk(shard.states(State.HELD))]
    return [
        (queue.shards[number], found)
        for queue_id in sorted(wanted)
        if is_queue_id(queue_id)
        for number, found in await called(queue, queue_id)
        if found.state in (State.HELD, None)
    ]


async def _raw(shard: Shard, found: Found) -> dict[str, Any]:
    """As it is stored; empty when it is gone."""
    stored = await shard.raw(found.sequence)
    if stored is None:
        return {}
    payload = base64.b64encode(stored.payload).decode()
    return {
        "stream": shard.stream,
        "sequence": found.sequence,
        "subject": stored.subject,
        "headers": base64.b64encode(stored.headers).decode(),
        "payload": payload,
    }


def _name(found: Found) -> str:
    return found.entry.queue_id if isinstance(found, StoredEntry) else found.queue_id


def _complain_of(missing: set[str], *, failed: bool) -> None:
    for queue_id in sorted(missing):
        typer.echo(f"{visible(queue_id)} is not held", err=True)
    if missing or failed:
        raise typer.Exit(1)
