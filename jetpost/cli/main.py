"""`jetpost`: the command line. A command's module is imported only when that command runs."""

import pkgutil
from importlib import metadata
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup


class Command(NamedTuple):
    """Where a command is, and what it does in one sentence."""

    place: str
    """A function or a `typer.Typer` with commands of its own."""
    does: str


COMMANDS: dict[str, Command] = {
    "up": Command("jetpost.cli.up:up", "Run the whole system on this machine."),
    "send": Command("jetpost.cli.smtp.send:send", "Submit a message like a mail client."),
    "probe": Command(
        "jetpost.cli.smtp.probe:probe", "Send a message through the whole system, and see it arrive here."
    ),
    "queue": Command(
        "jetpost.cli.queue.commands:queue_app", "Show what is queued: depth by state and domain, entries."
    ),
    "events": Command("jetpost.cli.events:events", "Follow what happens to messages."),
    "store": Command("jetpost.cli.store:store_app", "Check the files of a nats-server before it starts."),
    "user": Command("jetpost.cli.user:user_app", "Add, remove and list the users who may submit mail."),
    "route": Command("jetpost.cli.config.route:route_app", "Show which route a message takes, and to which hosts."),
    "dkim": Command("jetpost.cli.dkim.commands:dkim_app", "Make keys that sign mail, and compare them with DNS."),
    "doctor": Command("jetpost.cli.config.doctor:doctor", "Check a sender domain and this installation."),
    "config": Command(
        "jetpost.cli.config.commands:config_app", "Check a configuration, or print what can be configured."
    ),
}


class Commands(TyperGroup):
    """The commands by name; `--help` needs only their sentences."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 — the signature is the library's
        """The names, in the order of `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> TyperCommand | None:  # noqa: ARG002 — as above
        """The command as the help page shows it."""
        return TyperCommand(cmd_name, help=COMMANDS[cmd_name].does) if cmd_name in COMMANDS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that `args` call for, imported now."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, _imported(name) if name in COMMANDS else command, rest


def _imported(name: str) -> Any:
    found = pkgutil.resolve_name(COMMANDS[name].place)
    if not isinstance(found, typer.Typer):
        app = typer.Typer(add_completion=False)
        app.command(name, help=COMMANDS[name].does)(found)
        found = app
    return typer.main.get_command(found)


app = typer.Typer(cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"jetpost {metadata.version('jetpost')}")
        raise typer.Exit


@app.callback()
def jetpost_command(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Jetpost: a mail transfer system whose processes hold no mail."""


def main() -> None:
    """The entry point of the `jetpost` command."""
    app()
