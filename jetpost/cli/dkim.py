"""`jetpost dkim`: make keys that sign, print their DNS records, and compare these with what DNS says."""

import asyncio
import os
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from jetpost.cli.reach import DATA, ConfigOption, DataOption, settings_for
from jetpost.dns.answer import Answer, Failed, Found
from jetpost.dns.resolver import Dns, Resolver
from jetpost.mail.address import a_labels
from jetpost.process.signing import SELECTOR, Dkim, DkimKey
from jetpost.reason import reason_of
from jetpost.sign.keys import LEAST_RSA_BITS, MOST_RSA_BITS, PrivateKey, private_key
from jetpost.sign.record import Finding, finding, record_name, zone_line

EXIT_DIFFERS = 1

dkim_app = typer.Typer(no_args_is_help=True, add_completion=False)

Only = Annotated[str, typer.Argument(help="Only keys of this domain.")]


@dkim_app.command()
def new(
    domain: Annotated[str, typer.Argument(help="The domain in the authors' addresses.")],
    selector: Annotated[str, typer.Argument(help="A name for the key, such as rsa2026.")],
    file: Annotated[Path, typer.Argument(help="The file to write the private key to. It must not exist.")],
    *,
    kind: Annotated[Literal["rsa", "ed25519"], typer.Option(help="The kind of the key.")] = "rsa",
    bits: Annotated[int, typer.Option(min=LEAST_RSA_BITS, max=MOST_RSA_BITS, help="Of an RSA key.")] = LEAST_RSA_BITS,
) -> None:
    """Make a key for DOMAIN, write it to FILE (readable for its owner only), and print the DNS record to publish."""
    name = a_labels(domain)
    if name is None:
        _fail(f"{domain} is no domain")
    if not SELECTOR.fullmatch(selector.lower()):
        _fail(f"{selector} is no selector: use letters, digits and hyphens")
    key: PrivateKey = rsa.generate_private_key(65537, bits) if kind == "rsa" else ed25519.Ed25519PrivateKey.generate()
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    except OSError as error:
        _fail(f"cannot write {file}: {error.strerror}")
    typer.echo(zone_line(name, selector.lower(), key))


@dkim_app.command()
def show(domain: Only = "", *, config: ConfigOption = None, data: DataOption = DATA) -> None:
    """Print the DNS records of the configured keys, as lines of a zone file."""
    for key in _keys(settings_for(config, data, "dkim").of(Dkim), domain):
        typer.echo(zone_line(key.domain, key.selector, _private(key)))


@dkim_app.command()
def check(domain: Only = "", *, config: ConfigOption = None, data: DataOption = DATA) -> None:
    """Compare the configured keys with what DNS says. Exit status 1: some differ, or DNS does not answer."""
    settings = settings_for(config, data, "dkim", "dns")
    keys = _keys(settings.of(Dkim), domain)
    answers = asyncio.run(_asked(settings.of(Dns), keys))
    differ = False
    for key, answer in zip(keys, answers, strict=True):
        name, private = record_name(key.domain, key.selector), _private(key)
        found = finding(answer.records if isinstance(answer, Found) else (), private)
        if found is Finding.MATCHES:
            typer.echo(f"{name}: {found}")
            continue
        differ = True
        typer.echo(f"{name}: {f'cannot look up: {answer.why}' if isinstance(answer, Failed) else found}")
        if not isinstance(answer, Failed):
            typer.echo(f"  publish: {zone_line(key.domain, key.selector, private)}")
    if differ:
        raise typer.Exit(EXIT_DIFFERS)


async def _asked(settings: Dns, keys: list[DkimKey]) -> list[Answer[str]]:
    """What DNS says under the name of each key."""
    resolver = Resolver(settings)
    try:
        return await asyncio.gather(*(resolver.txt(record_name(key.domain, key.selector)) for key in keys))
    finally:
        await resolver.aclose()


def _keys(settings: Dkim, domain: str) -> list[DkimKey]:
    name = a_labels(domain) if domain else ""
    found = [key for key in settings.keys if name in ("", key.domain)]
    if not found:
        _fail(f"no key of {domain} is configured" if domain else "no keys are configured (`dkim.keys`)")
    return found


def _private(key: DkimKey) -> PrivateKey:
    try:
        return private_key(key.file.read_bytes())
    except (OSError, ValueError) as error:
        _fail(f"cannot use {key.file}: {reason_of(error)}")


def _fail(why: str) -> NoReturn:
    typer.echo(why, err=True)
    raise typer.Exit(1)
