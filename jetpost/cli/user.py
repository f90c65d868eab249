"""`jetpost user`: who may submit mail."""

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from jetpost.reason import reason_of
from jetpost.users import hashed, read_users, remove_user, set_password

user_app = typer.Typer(no_args_is_help=True, add_completion=False)

UsersFile = Annotated[Path, typer.Argument(help="The users file.")]
Name = Annotated[str, typer.Argument(help="What the user says in AUTH.")]

_TROUBLE = (OSError, ValueError, RuntimeError)
"""RuntimeError: a link that leads to itself."""

FromStdin = Annotated[bool, typer.Option(help="Read the password from standard input.")]


@user_app.command("hash")
def print_hash(*, password_stdin: FromStdin = False) -> None:
    """Print the hash of a password, for a users file that is kept elsewhere, such as in a Secret."""
    typer.echo(hashed(_password(from_stdin=password_stdin)))


@user_app.command()
def add(
    file: UsersFile,
    name: Name,
    *,
    password_stdin: FromStdin = False,
) -> None:
    """Add NAME to FILE, or change the password. A running ingress sees it at once."""
    password = _password(from_stdin=password_stdin)
    try:
        is_new = set_password(file, name, password)
    except _TROUBLE as error:
        _fail(_why(file, error))
    typer.echo(f"{name}: {'added' if is_new else 'password changed'}")


@user_app.command("list")
def list_users(file: UsersFile) -> None:
    """Print the names in FILE."""
    try:
        names = sorted(read_users(file))
    except _TROUBLE as error:
        _fail(_why(file, error))
    for name in names:
        typer.echo(name)


@user_app.command()
def remove(file: UsersFile, name: Name) -> None:
    """Remove NAME from FILE."""
    try:
        found = remove_user(file, name)
    except _TROUBLE as error:
        _fail(_why(file, error))
    if not found:
        _fail(f"no user {name} in {file}")
    typer.echo(f"{name}: removed")


def _password(*, from_stdin: bool) -> str:
    if from_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    if not password:
        _fail("the password must not be empty")
    return password


def _why(file: Path, error: Exception) -> str:
    """What is wrong; it may have happened to a copy of the file."""
    return f"{file}: {error.strerror}" if isinstance(error, OSError) and error.strerror else reason_of(error)


def _fail(why: str) -> NoReturn:
    typer.echo(why, err=True)
    raise typer.Exit(1)
