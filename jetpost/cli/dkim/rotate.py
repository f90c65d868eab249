"""`jetpost dkim rotate`: from the keys of a domain to a new one, a step each time that it is called."""

import shlex
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, assert_never

import typer

from jetpost.cli.dkim import key_files
from jetpost.cli.dkim.keys import Findings, asked, fail, known, of_domain, queued, said
from jetpost.cli.reach import DATA, ConfigOption, DataOption, settings_for
from jetpost.config.load import Settings
from jetpost.dns.resolver import Dns
from jetpost.mail.address import a_labels
from jetpost.process.dkim.choice import Known
from jetpost.process.dkim.generate import generated, pem
from jetpost.process.dkim.records import is_shown
from jetpost.process.dkim.settings import Dkim
from jetpost.queue.provision.settings import QueueSettings
from jetpost.reason import reason_of
from jetpost.sign.key_file import SELECTOR, KeyName, Notes, file_name, notes_of, with_notes
from jetpost.sign.keys import LEAST_RSA_BITS, MOST_RSA_BITS
from jetpost.sign.record import record_name, revoked_line, zone_line
from jetpost.sign.rotation import (
    Complete,
    Impossible,
    Keep,
    Make,
    Missing,
    Publish,
    Remove,
    Resume,
    Retire,
    Step,
    kept_until,
    missing,
    next_step,
)

EXIT_DIFFERS = 1
_EPOCH = datetime.fromtimestamp(0, UTC)
_ALGORITHMS = {"rsa": "rsa-sha256", "ed25519": "ed25519-sha256"}


class _Rotation(NamedTuple):
    """What is asked for."""

    name: KeyName
    kind: str
    bits: int
    dkim: Dkim
    folder: Path
    settings: Settings
    with_queue: bool


def rotate(
    domain: Annotated[str, typer.Argument(help="The domain whose keys are replaced.")],
    selector: Annotated[str, typer.Argument(help="The name of the new key, such as rsa2027.")],
    *,
    kind: Annotated[Literal["rsa", "ed25519"], typer.Option(help="The kind of the keys.")] = "rsa",
    bits: Annotated[int, typer.Option(min=LEAST_RSA_BITS, max=MOST_RSA_BITS, help="Of an RSA key.")] = LEAST_RSA_BITS,
    folder: Annotated[
        Path | None,
        typer.Option(help="The folder with the keys, instead of `dkim.folder`. Then the queue is not asked."),
    ] = None,
    config: ConfigOption = None,
    data: DataOption = DATA,
) -> None:
    """Replace the keys of DOMAIN by a new one called SELECTOR. Call it again until it says that all is done.

    It makes the new key, which signs once all name servers show its record. Then it keeps the old ones as long as their
    records are needed, and removes them. Exit status 1: the record is not there yet.
    """
    name = a_labels(domain)
    if name is None:
        fail(f"{domain} is no domain")
    if not SELECTOR.fullmatch(selector.lower()):
        fail(f"{selector} is no selector: use letters, digits and hyphens")
    settings = settings_for(config, data, "dns", "nats", "queue", *(["dkim"] if folder is None else []))
    dkim = settings.of(Dkim) if folder is None else Dkim.model_construct(folder=folder)
    if dkim.folder is None:
        fail("\n".join(_how_to_move(dkim, name)))
    asked_for = _Rotation(
        KeyName(name, selector.lower()), kind, bits, dkim, dkim.folder, settings, with_queue=folder is None
    )
    try:
        with key_files.locked(dkim.folder):
            _go_on(asked_for)
    except BlockingIOError:
        fail(f"another command changes {dkim.folder}")
    except OSError as error:
        fail(f"cannot change the keys: {reason_of(error)}")


def _how_to_move(dkim: Dkim, domain: str) -> Iterable[str]:
    """The way from `dkim.keys` to a folder, in commands that can be copied. The old files stay until all have moved."""
    yield "set `dkim.folder`: the new key is a file that processes find there"
    keys = [key for key in dkim.keys if key.domain == domain]
    if not keys:
        return
    folder = keys[0].file.absolute().parent / "dkim"
    yield f"The keys of {domain} are in `dkim.keys`. Copy them under the names of their records:"
    yield f"  mkdir -p {shlex.quote(str(folder))}"
    for key in keys:
        target = folder / file_name(key.domain, key.selector)
        yield f"  cp -p {shlex.quote(str(key.file.absolute()))} {shlex.quote(str(target))}"
        if key.replaces:
            yield f"  sed -i '1i Replaces: {' '.join(key.replaces)}' {shlex.quote(str(target))}"
    yield f"Then set `dkim.folder: {folder}`, and remove these entries from `dkim.keys`."
    yield "Restart ingress and bouncer, see `jetpost dkim check`, and call this again."


def _go_on(rotation: _Rotation) -> None:
    """Take the steps that can be taken now."""
    while True:
        keys = of_domain(known(rotation.dkim), rotation.name.domain)
        new = [it for it in keys if it.source.name == rotation.name]
        (findings,) = asked(rotation.settings.of(Dns), [it.held for it in new]) or [{}]
        step = next_step(
            [it.held for it in keys],
            rotation.name.selector,
            _ALGORITHMS[rotation.kind],
            shown=is_shown(findings.values()),
            now=datetime.now(UTC),
            lifetime_s=rotation.settings.of(QueueSettings).lifetime_s,
        )
        if not _take(step, rotation, keys, findings):
            return


def _take(step: Step, rotation: _Rotation, keys: list[Known], findings: Findings) -> bool:
    """Whether another step may follow at once."""
    name = rotation.name
    by_selector = {it.source.name.selector: it for it in keys}
    match step:
        case Make(replaces):
            _make(rotation, replaces, by_selector)
            return True
        case Publish():
            typer.echo(f"{record_name(*name)}: {said(findings)}")
            typer.echo(f"publish: {zone_line(*name, by_selector[name.selector].held.key.private)}")
            typer.echo("Call this again when all name servers show the record.")
            _say_missing(rotation, by_selector)
            raise typer.Exit(EXIT_DIFFERS)
        case Retire(selectors) | Resume(selectors):
            _note([by_selector[selector] for selector in selectors], name, is_final=isinstance(step, Retire))
            return True
        case Keep(until):
            names = ", ".join(sorted(by_selector[name.selector].held.notes.replaces & by_selector.keys()))
            typer.echo(f"keep the records of {names} until {until:%Y-%m-%d %H:%M} UTC: messages need them")
            return False
        case Remove(selectors):
            return _remove(rotation, by_selector[name.selector], [by_selector[selector] for selector in selectors])
        case Missing():
            _say_missing(rotation, by_selector)
            raise typer.Exit(EXIT_DIFFERS)
        case Complete():
            typer.echo(f"{name.selector} signs for {name.domain}. No key that it replaces is there.")
            _revoke(KeyName(name.domain, it) for it in sorted(by_selector[name.selector].held.notes.replaces))
            return False
        case Impossible():
            typer.echo(f"{name.domain} has no {rotation.kind} key to replace. Make one: `jetpost dkim new`", err=True)
            raise typer.Exit(1)
        case _:
            assert_never(step)


def _make(rotation: _Rotation, replaces: frozenset[str], keys: dict[str, Known]) -> None:
    content = with_notes(pem(generated(rotation.kind, rotation.bits)), Notes(replaces))
    file = rotation.folder / file_name(*rotation.name)
    key_files.create(file, content, like=keys[min(replaces)].source.file)
    typer.echo(f"made {file}")


def _note(old: list[Known], new: KeyName, *, is_final: bool) -> None:
    """Note in their files that they are replaced since now, or that they are not."""
    for it in old:
        content = it.source.file.read_bytes()
        notes = notes_of(content)._replace(retired=datetime.now(UTC) if is_final else None)
        key_files.replace(it.source.file, with_notes(content, notes))
        said = "is replaced: {} signs" if is_final else "signs again: the record of {} is gone"
        typer.echo(f"{it.source.name.selector} {said.format(new.selector)}")


def _revoke(names: Iterable[KeyName]) -> None:
    for name in names:
        typer.echo(f"{name.selector}: remove its record, or revoke it: {revoked_line(*name)}")


def _say_missing(rotation: _Rotation, keys: dict[str, Known]) -> None:
    """Say which files are lost. Their records stay: nobody knows when those keys signed last."""
    new = keys[rotation.name.selector]
    lost = missing(new.held, [it.source.name for it in keys.values()])
    if not lost:
        return
    for selector in lost:
        file = rotation.folder / file_name(rotation.name.domain, selector)
        typer.echo(f"the file of {selector} is missing: {file}", err=True)
        typer.echo(f"keep the record of {selector}: queued messages may be signed with it", err=True)
    kept = kept_until(_EPOCH, rotation.settings.of(QueueSettings).lifetime_s) - _EPOCH
    days = -(-kept // timedelta(days=1))
    typer.echo(
        f"Put the files back, and call this again. If they are lost, keep the records for {days} more days. Then"
        f" see `jetpost dkim check --queue`, and write `Removed: {' '.join(lost)}` above the key in {new.source.file}.",
        err=True,
    )
    replaced = new.held.notes.replaces | {rotation.name.selector}
    others = [
        selector
        for selector, it in keys.items()
        if selector not in replaced
        and it.held.key.algorithm == new.held.key.algorithm
        and it.held.notes.retired is None
        and rotation.name.selector not in it.held.notes.replaces
    ]
    if others:
        typer.echo(f"To replace {', '.join(others)} as well, add the name to `Replaces:` there.", err=True)


def _remove(rotation: _Rotation, new: Known, old: list[Known]) -> bool:
    """What they signed must have left the queue: held messages stay in it for longer than any lifetime."""
    if rotation.with_queue:
        counts = queued(rotation.settings)
        for it in old:
            if count := counts[it.source.name]:
                typer.echo(f"keep the record of {it.source.name.selector}: it signed {count} queued messages")
                return False
    else:
        typer.echo("The queue was not asked. Before you revoke a record, see `jetpost dkim check --queue`.")
    _revoke(it.source.name for it in old)
    content = new.source.file.read_bytes()
    notes = notes_of(content)
    removed = notes.removed | {it.source.name.selector for it in old}
    key_files.replace(new.source.file, with_notes(content, notes._replace(removed=removed)))
    for it in old:
        if not it.source.is_configured:
            key_files.remove(it.source.file)
            typer.echo(f"removed {it.source.file}")
    if configured := [it for it in old if it.source.is_configured]:
        typer.echo(f"remove {', '.join(it.source.name.selector for it in configured)} from `dkim.keys`, and restart")
        return False
    return True
