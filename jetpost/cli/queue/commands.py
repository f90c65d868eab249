"""`jetpost queue`: what is queued, by state and domain, entry by entry, or one message in full."""

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console

from jetpost.cli.queue import content, held, view
from jetpost.cli.queue.copy import back_up, restore
from jetpost.cli.queue.forget import forget
from jetpost.cli.queue.loss import acknowledge_loss
from jetpost.cli.reach import DATA, ConfigOption, DataOption, finish, looking, settings_for
from jetpost.cli.terminal import visible
from jetpost.mail.address import a_labels
from jetpost.mail.content import Content
from jetpost.queue import listing
from jetpost.queue.content.large import ContentMissing
from jetpost.queue.model.names import DomainToken, is_domain_token, is_queue_id, token_of
from jetpost.queue.model.states import State
from jetpost.queue.model.unreadable import Unreadable
from jetpost.queue.queue import Queue

_FIRST_ENTRIES = 20

queue_app = typer.Typer(invoke_without_command=True, add_completion=False)
queue_app.command("backup")(back_up)
queue_app.command("content")(content.content)
queue_app.command("forget")(forget)
queue_app.command("acknowledge-loss")(acknowledge_loss)
queue_app.command("release")(held.release)
queue_app.command("delete")(held.delete)
queue_app.command("export")(held.export)
queue_app.command("restore")(restore)
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@queue_app.callback()
def overview(context: typer.Context, config: ConfigOption = None, data: DataOption = DATA) -> None:
    """Show what is queued: depth by state and domain, and the first entries."""
    context.obj = settings_for(config, data, "nats", "queue")
    if context.invoked_subcommand is not None:
        return

    async def ask() -> None:
        async with looking(context.obj) as queue:
            deep = await listing.depth(queue)
            first = await listing.everything(queue, limit=_FIRST_ENTRIES)
            kept = await content.held(queue)
        console = Console()
        console.print(view.depth_table(deep))
        if deep.strange:
            typer.echo(f"Messages under subjects that no entry has: {deep.strange} (jetpost queue list --json)")
        if first:
            _print_entries(first)
        if kept.contents or kept.unneeded or kept.messages:
            typer.echo(content.line(kept))

    finish(ask())


@queue_app.command()
def depth(context: typer.Context, as_json: JsonOption = False) -> None:
    """Count the entries of every state and domain."""

    async def ask() -> listing.Depth:
        async with looking(context.obj) as queue:
            return await listing.depth(queue)

    found = finish(ask())
    if as_json:
        typer.echo(json.dumps(view.depth_record(found)))
    else:
        Console().print(view.depth_table(found))


@queue_app.command("list")
def list_entries(
    context: typer.Context,
    state: Annotated[State | None, typer.Option(help="Only entries in this state.")] = None,
    domain: Annotated[str | None, typer.Option("--domain", help="Only entries for this domain.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """List entries in the order of the queue."""

    async def ask() -> view.Entries:
        async with looking(context.obj) as queue:
            return await listing.everything(queue, state=state, domain_token=_token(domain), limit=limit)

    found = finish(ask())
    if as_json:
        typer.echo(json.dumps([view.entry_record(stored) for _, stored in found], indent=2))
    else:
        _print_entries(found)


@queue_app.command()
def show(
    context: typer.Context,
    queue_id: Annotated[str, typer.Argument(metavar="QUEUE_ID", help="As the 250 reply and every log line has it.")],
    as_json: JsonOption = False,
) -> None:
    """Show every entry of one message: envelope, state, last failure, header. Never the body."""
    if not is_queue_id(queue_id):
        raise typer.BadParameter(f"{visible(queue_id)} is no queue id")

    async def ask() -> list[view.Shown | Unreadable]:
        async with looking(context.obj) as queue:
            found = await listing.called(queue, queue_id)
            return [
                stored
                if isinstance(stored, Unreadable)
                else view.Shown(stored, await _header(queue, stored.entry.content))
                for _, stored in found
            ]

    found = finish(ask())
    if not found:
        typer.echo(f"{queue_id} is not in the queue: delivered, bounced, or never accepted here", err=True)
        raise typer.Exit(1)
    if as_json:
        typer.echo(json.dumps([view.shown_record(it) for it in found], indent=2))
        return
    for it in found:
        text = view.unreadable_text(it) if isinstance(it, Unreadable) else view.full_text(it)
        Console(soft_wrap=True).print(text)


def _print_entries(found: view.Entries) -> None:
    now = datetime.now(UTC)
    console = Console()
    console.print(view.entries_view(found, now, console.width), soft_wrap=console.width < view.TABLE_WIDTH)
    if unreadable := view.unreadable_lines(found, now):
        Console(soft_wrap=True).print(unreadable, end="")


async def _header(queue: Queue, content: Content) -> str:
    """The header of the message: all before the first empty line, at most one chunk of it."""
    with suppress(ContentMissing):
        async for chunk in queue.content.chunks(content):
            return chunk.partition(b"\r\n\r\n")[0].decode(errors="replace")
    return ""


def _token(domain: str | None) -> DomainToken | None:
    """The token of a domain; what is a token, as subjects show it, is taken as it is."""
    if domain is None:
        return None
    return DomainToken(domain) if is_domain_token(domain) else token_of(a_labels(domain) or domain)
