"""`jetpost queue acknowledge-loss`: an operator knows what the store has lost."""

import typer

from jetpost.cli.reach import finish, looking
from jetpost.queue.integrity.keeper import acknowledge
from jetpost.queue.integrity.made import Made
from jetpost.queue.provision.stream import CONTENT_STREAM


def acknowledge_loss(context: typer.Context) -> None:
    """Let the services be ready again after the store has lost messages. Read the runbook first: it is not undone."""

    async def ask() -> dict[str, str]:
        async with looking(context.obj) as queue:
            streams = [*(shard.stream for shard in queue.shards), CONTENT_STREAM]
            connected = queue.shards[0].jetstream
            told = await acknowledge(connected, streams)
            return {**await Made(connected).accept(), **told}

    told = finish(ask())
    for stream, loss in told.items():
        typer.echo(f"{stream}: {loss}; acknowledged")
    if not told:
        typer.echo("no stream has lost anything that is not acknowledged", err=True)
        raise typer.Exit(1)
