"""The keys that a command is about, and what DNS and the queue say of them."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NoReturn

import typer

from jetpost.cli.reach import finish, looking
from jetpost.config.load import Settings
from jetpost.dns.answer import Failed
from jetpost.dns.resolver import Dns
from jetpost.process.dkim.choice import Known, read_keys
from jetpost.process.dkim.records import EveryServer
from jetpost.process.dkim.settings import Dkim
from jetpost.queue.model.unreadable import Unreadable
from jetpost.sign.record import Finding
from jetpost.sign.rotation import Held, signers_of

Findings = Mapping[str, Finding | Failed]
"""What each name server says of a key."""


def known(settings: Dkim) -> list[Known]:
    """All keys that can sign. Files that have none are told."""
    found = read_keys(settings)
    if found.unread:
        fail(f"cannot read {settings.folder}: {found.unread}")
    for file, why in found.trouble.items():
        typer.echo(f"{file}: {why}", err=True)
    return found.known


def asked(dns: Dns, keys: Iterable[Held]) -> list[dict[str, Finding | Failed]]:
    """What each name server says of each key."""

    async def ask() -> list[dict[str, Finding | Failed]]:
        async with EveryServer(dns) as servers:
            return await servers.of_all([it.key for it in keys])

    return asyncio.run(ask())


def said(findings: Findings) -> str:
    """The findings in words; with the server, where not all say the same."""
    words = {at: f"cannot look up: {it.why}" if isinstance(it, Failed) else str(it) for at, it in findings.items()}
    if len(set(words.values())) <= 1:
        return next(iter(words.values()), "there is no name server")
    return "; ".join(f"{word} (at {server})" for server, word in words.items())


def queued(settings: Settings) -> Counter[tuple[str, str]]:
    """How many messages for one domain each key, by domain and selector, has signed of those that are queued now."""

    async def ask() -> Counter[tuple[str, str]]:
        counts: Counter[tuple[str, str]] = Counter()
        async with looking(settings) as queue:
            for shard in queue.shards:
                async for found in shard.walk(shard.states(None)):
                    if not isinstance(found, Unreadable):
                        counts.update(signers_of(found.entry.trace))
        return counts

    return finish(ask())


def fail(why: str) -> NoReturn:
    """End the command."""
    typer.echo(why, err=True)
    raise typer.Exit(1)


def of_domain(keys: Sequence[Known], domain: str) -> list[Known]:
    """Those of a domain; all of them when it is empty."""
    return [it for it in keys if domain in ("", it.source.name.domain)]
