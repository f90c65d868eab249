"""`jetpost dkim`: make keys that sign, print their DNS records, and compare these with what DNS says."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from jetpost.cli.dkim.keys import asked, fail, known, of_domain, queued, said
from jetpost.cli.dkim.rotate import EXIT_DIFFERS, rotate
from jetpost.cli.reach import DATA, ConfigOption, DataOption, settings_for
from jetpost.dns.resolver import Dns
from jetpost.mail.address import a_labels
from jetpost.process.dkim.choice import Known, signing_keys
from jetpost.process.dkim.generate import generated, pem
from jetpost.process.dkim.records import is_shown
from jetpost.process.dkim.settings import MOST_KEYS_OF_A_DOMAIN, Dkim
from jetpost.queue.provision.settings import QueueSettings
from jetpost.sign.key_file import SELECTOR, file_name
from jetpost.sign.keys import LEAST_RSA_BITS, MOST_RSA_BITS
from jetpost.sign.record import record_name, zone_line
from jetpost.sign.rotation import Stage, kept_until, stages

_CROWDED = f"does not sign: verifiers look at {MOST_KEYS_OF_A_DOMAIN} keys of a domain"

dkim_app = typer.Typer(no_args_is_help=True, add_completion=False)
dkim_app.command("rotate")(rotate)

Only = Annotated[str, typer.Argument(help="Only keys of this domain.")]
Counted = Annotated[bool, typer.Option("--queue", help="Count the queued messages that each key has signed.")]


@dkim_app.command()
def new(
    domain: Annotated[str, typer.Argument(help="The domain in the authors' addresses.")],
    selector: Annotated[str, typer.Argument(help="A name for the key, such as rsa2026.")],
    file: Annotated[
        Path,
        typer.Argument(help="The file to write the private key to. It must not exist. In a folder it gets its name."),
    ],
    *,
    kind: Annotated[Literal["rsa", "ed25519"], typer.Option(help="The kind of the key.")] = "rsa",
    bits: Annotated[int, typer.Option(min=LEAST_RSA_BITS, max=MOST_RSA_BITS, help="Of an RSA key.")] = LEAST_RSA_BITS,
) -> None:
    """Make a key for DOMAIN, write it to FILE (readable for its owner only), and print the DNS record to publish.

    If FILE is a folder, the key is written there with the name that `dkim.folder` asks for.
    """
    name = a_labels(domain)
    if name is None:
        fail(f"{domain} is no domain")
    if not SELECTOR.fullmatch(selector.lower()):
        fail(f"{selector} is no selector: use letters, digits and hyphens")
    key = generated(kind, bits)
    if os.path.isdir(file):  # noqa: PTH112 — never raises, as `Path.is_dir` may
        file /= file_name(name, selector.lower())
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(pem(key))
    except OSError as error:
        fail(f"cannot write {file}: {error.strerror}")
    typer.echo(zone_line(name, selector.lower(), key))


@dkim_app.command()
def show(domain: Only = "", *, config: ConfigOption = None, data: DataOption = DATA) -> None:
    """Print the DNS records of the configured keys, as lines of a zone file."""
    for it in _keys(settings_for(config, data, "dkim").of(Dkim), domain):
        typer.echo(zone_line(*it.source.name, it.held.key.private))


@dkim_app.command()
def check(domain: Only = "", *, queue: Counted = False, config: ConfigOption = None, data: DataOption = DATA) -> None:
    """Compare the keys with what all name servers say. Exit status 1: some differ, or a server does not answer."""
    settings = settings_for(config, data, "dkim", "dns", "nats", "queue")
    keys = _keys(settings.of(Dkim), domain)
    findings = asked(settings.of(Dns), [it.held for it in keys])
    answers: dict[tuple[str, str], bool | None] = {
        it.source.name: is_shown(found.values()) for it, found in zip(keys, findings, strict=True)
    }
    shown = {name: answer for name, answer in answers.items() if answer is not None}
    held = [it.held for it in keys]
    stage = stages(held, shown)
    signing = {(key.domain, key.selector) for key in signing_keys(held, stage).keys}
    counts = queued(settings) if queue else None
    for it, found in zip(keys, findings, strict=True):
        name = it.source.name
        does = _CROWDED if stage[name] is Stage.SIGNS and name not in signing else stage[name]
        line = f"{record_name(*name)}: {said(found)}; {does}"
        if stage[name] is Stage.RETIRED:
            line += f", {_kept(it, settings.of(QueueSettings).lifetime_s)}"
        typer.echo(line + (f", {counts[name]} queued messages" if counts is not None else ""))
        if shown.get(name) is False:
            typer.echo(f"  publish: {zone_line(*name, it.held.key.private)}")
    for gone, count in _signed_by_others(counts or Counter(), keys, domain).items():
        typer.echo(f"{record_name(*gone)}: there is no such key; keep its record, {count} queued messages")
    if not all(answers.values()):
        raise typer.Exit(EXIT_DIFFERS)


def _signed_by_others(
    counts: Counter[tuple[str, str]], keys: Sequence[Known], domain: str
) -> dict[tuple[str, str], int]:
    """The queued messages of keys that are there no more."""
    there = {tuple(it.source.name) for it in keys}
    only = _name_of(domain)
    return {name: count for name, count in sorted(counts.items()) if name not in there and only in ("", name[0])}


def _name_of(domain: str) -> str:
    return a_labels(domain) or domain if domain else ""


def _kept(it: Known, lifetime_s: float) -> str:
    if it.held.notes.retired is None:
        return "keep its record (`jetpost dkim rotate` says until when)"
    return f"keep its record until {kept_until(it.held.notes.retired, lifetime_s):%Y-%m-%d %H:%M} UTC"


def _keys(settings: Dkim, domain: str) -> list[Known]:
    found = of_domain(known(settings), _name_of(domain))
    if not found:
        fail(f"no key of {domain} is configured" if domain else "no keys are configured (`dkim.keys`, `dkim.folder`)")
    return found
