"""`jetpost doctor`: check a sender domain and this installation, and say how to mend what is wrong."""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Annotated, Any, Literal

import typer

from jetpost.cli.reach import DATA, ConfigOption, DataOption, defaults_used, sources
from jetpost.cli.terminal import visible, visible_json
from jetpost.doctor.examine import SECTIONS, Examination, examine, read
from jetpost.doctor.finding import Finding, Severity, skipped, worst
from jetpost.mail.address import a_labels
from jetpost.telemetry.log import Log, configure

EXIT_WARNING = 1
EXIT_ERROR = 2
_MARKS = {Severity.OK: "ok", Severity.SKIPPED: "skip", Severity.WARNING: "WARN", Severity.ERROR: "ERROR"}


def doctor(  # noqa: PLR0913 — the options of a command
    domain: Annotated[
        str, typer.Argument(metavar="DOMAIN", help="A sender domain. Default: those of `dkim.keys`.")
    ] = "",
    from_ip: Annotated[
        list[str] | None, typer.Option("--from-ip", metavar="IP", help="A public address that mail leaves from.")
    ] = None,
    mx_of: Annotated[
        str, typer.Option("--mx-of", metavar="DOMAIN", help="Try port 25 at the MX hosts of this domain.")
    ] = "",
    within: Annotated[float, typer.Option("--within", metavar="SECONDS", min=1, help="The time of each check.")] = 30,
    fail_on: Annotated[
        Literal["warning", "error"],
        typer.Option("--fail-on", help="What counts for the exit status."),
    ] = "warning",
    section: Annotated[
        list[str] | None, typer.Option("--section", help="Check these sections of the configuration only.")
    ] = None,
    domain_only: Annotated[bool, typer.Option("--domain-only", help="Do not check the installation.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
    *,
    config: ConfigOption = None,
    data: DataOption = DATA,
) -> None:
    """Check a sender domain and this installation. Exit status 1: there are warnings, 2: there are errors."""
    configure("jetpost", Log(), silent=True)
    if unknown := set(section or ()) - set(SECTIONS):
        raise typer.BadParameter(f"there are {', '.join(SECTIONS)}, got {min(unknown)!r}", param_hint="--section")
    asked = Examination(
        _domain(domain, "DOMAIN"),
        tuple(_address(it) for it in from_ip or ()),
        _domain(mx_of, "--mx-of"),
        within,
        domain_only,
    )
    installed = read(*sources(config, data), section or SECTIONS)
    if not installed.is_there and (alone := defaults_used(config, data, section or SECTIONS)):
        installed.findings.append(skipped("configuration", "none", f"not checked: {alone}"))
    findings = asyncio.run(examine(installed, asked))
    _print(findings, as_json=as_json)
    found = worst(findings)
    if found is Severity.ERROR:
        raise typer.Exit(EXIT_ERROR)
    if found is Severity.WARNING and fail_on == "warning":
        raise typer.Exit(EXIT_WARNING)


def _print(findings: Sequence[Finding], *, as_json: bool) -> None:
    if as_json:
        told: Mapping[str, Any] = {"worst": worst(findings), "findings": [it._asdict() for it in findings]}
        typer.echo(visible_json(json.dumps(told, indent=2, ensure_ascii=False)))
        return
    for finding in findings:
        for line in _lines(finding):
            typer.echo(visible(line))


def _lines(finding: Finding) -> Iterator[str]:
    """A finding for people."""
    yield f"{_MARKS[finding.severity]:<5} {finding.id}: {finding.about}: {finding.found}"
    if finding.mend:
        yield f"      mend: {finding.mend}"
    for record in finding.publish:
        yield f"      publish: {record}"


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise typer.BadParameter(f"must be an IP address, got {text!r}", param_hint="--from-ip") from None


def _domain(text: str, hint: str) -> str:
    name = a_labels(text.removesuffix(".")) if text else ""
    if name is None:
        raise typer.BadParameter(f"must be a domain such as example.org, got {text!r}", param_hint=hint)
    return name
