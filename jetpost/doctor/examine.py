"""What is to be checked: a sender domain, the addresses that its mail leaves from, and the installation."""

import asyncio
import pkgutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from jetpost.config import environment
from jetpost.config.load import ConfigurationError, load
from jetpost.dns.answer import NoDomain
from jetpost.dns.resolver import Dns, Resolver
from jetpost.doctor import egress, installation
from jetpost.doctor.domain import Sender, check_alignment, check_dkim, check_dmarc, check_mx, check_spf
from jetpost.doctor.finding import Finding, error, ok, skipped
from jetpost.doctor.keys import keys_of
from jetpost.doctor.run import Check, run_checks
from jetpost.jetstream.settings import Nats
from jetpost.process.dkim.settings import Dkim
from jetpost.queue.provision.settings import QueueSettings
from jetpost.sign.keys import KeyRing

SECTIONS = ("dns", "dkim", "nats", "queue", "ingress", "delivery")
_LEAVING = "delivery.trial.upstream:leaving"
"""By its name, as `jetpost` imports no service."""
_MOST_PROBLEMS = 50
_MOST_DOMAINS = 50
_SMTP_PORT = 25


class Examination(NamedTuple):
    """What an operator wants to know."""

    domain: str = ""
    """A sender domain; "" for those of the configured keys."""
    egress: tuple[str, ...] = ()
    """Public addresses that mail leaves from; empty: those of the configuration, or of this machine."""
    mx_of: str = ""
    """Port 25 is tried at the MX hosts of this domain; "" for nowhere."""
    within_s: float = 30
    """The time of each check."""
    domain_only: bool = False


@dataclass
class Installation:
    """The configuration, as far as it can be used."""

    hostname: str = ""
    sections: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    is_there: bool = True
    """Whether there is any configuration."""

    def of(self, section: str, default: Any) -> Any:
        """A section; `default` when it cannot be used."""
        return self.sections.get(section, default)


def read(file: Path | None, environ: Mapping[str, str], names: Sequence[str] = SECTIONS) -> Installation:
    """Each section for itself: the checks of the others are of use when one has a mistake."""
    installed = Installation(is_there=file is not None or environment.is_set(environ, ("hostname", *names)))
    problems: list[str] = []
    for name in names:
        try:
            settings = load(file, environ, sections=(name,))
        except ConfigurationError as mistakes:
            problems += [it for it in mistakes.problems if it not in problems]
            continue
        installed.hostname = settings.hostname
        installed.sections[name] = settings.section(name)
    installed.findings += [error("configuration", *_placed(file, it)) for it in problems[:_MOST_PROBLEMS]]
    if installed.is_there and not problems:
        installed.findings.append(ok("configuration", str(file or "environment"), "it can be used"))
    return installed


def _placed(file: Path | None, problem: str) -> tuple[str, str]:
    """Where a problem of the configuration is, and what it is: `jetpost.yaml:3` and the sentence."""
    prefix = f"{file}:"
    if file is None or not problem.startswith(prefix):
        return str(file or "environment"), problem
    line, colon, sentence = problem.removeprefix(prefix).partition(": ")
    return (
        (f"{file}:{line}", sentence)
        if colon and line.isdecimal()
        else (str(file), problem.removeprefix(prefix).strip())
    )


async def examine(installed: Installation, asked: Examination) -> list[Finding]:
    """All findings."""
    keys = await asyncio.to_thread(keys_of, installed.of("dkim", Dkim()))
    domains = [asked.domain] if asked.domain else list(dict.fromkeys(key.domain for key in keys.signing))
    checks_here = installed.is_there and not asked.domain_only
    findings = [*installed.findings, *keys.unusable]
    findings += [skipped("domain", it, "not checked: name it") for it in domains[_MOST_DOMAINS:]]
    if not (installed.is_there or domains or asked.egress or asked.mx_of):
        findings.append(error("configuration", "none", "nothing was checked", "Name a domain, --config or --data."))
    if checks_here:
        findings += await asyncio.to_thread(installation.remarks, installed.sections)
        findings += installation.check_tls(installed.of("delivery", None))
    resolver = Resolver(installed.of("dns", Dns()))
    try:
        senders = [_sender(installed, domain, keys.ring, asked.egress) for domain in domains[:_MOST_DOMAINS]]
        checks = [check for sender in senders for check in _of_domain(resolver, sender)]
        checks += _of_addresses(resolver, senders, installed.hostname, asked.egress)
        if checks_here:
            checks += _of_installation(installed, resolver, asked.within_s)
        if asked.mx_of:
            checks.append(_of_port(installed, resolver, asked.mx_of))
        elif checks_here:
            findings.append(skipped("port", "port 25", "not tried: name a domain with --mx-of"))
        return [*findings, *await run_checks(checks, asked.within_s)]
    finally:
        await resolver.aclose()


def _sender(installed: Installation, domain: str, keys: KeyRing, given: tuple[str, ...]) -> Sender:
    """How mail of `domain` leaves: from the addresses given, those of the configuration, or of this machine."""
    if given:
        return Sender(domain, keys, given, "")
    delivery = installed.of("delivery", None)
    told = pkgutil.resolve_name(_LEAVING)(delivery, domain) if delivery is not None else {"kind": "mx", "sources": []}
    if told["kind"] != "mx":
        return Sender(domain, keys, (), str(told["route"]))
    addresses = tuple(told["sources"]) or egress.addresses_of_this_machine()
    return Sender(domain, keys, tuple(filter(egress.is_public, addresses)), "")


def _of_domain(resolver: Resolver, sender: Sender) -> list[Check]:
    name = sender.domain

    def if_it_exists(kind: str, check: Callable[[Resolver, Sender], Awaitable[list[Finding]]]) -> Check:
        """Nothing below a name that does not exist exists (RFC 8020)."""

        async def run() -> list[Finding]:
            if isinstance(await resolver.mx(name), NoDomain):
                return [skipped(kind.lower(), name, "not checked: the domain does not exist")]
            return await check(resolver, sender)

        return Check(f"{kind} of {name}", run)

    return [
        Check(f"MX of {name}", lambda: check_mx(resolver, name)),
        if_it_exists("SPF", check_spf),
        if_it_exists("DKIM", check_dkim),
        if_it_exists("DMARC", check_dmarc),
        if_it_exists("alignment", check_alignment),
    ]


def _of_addresses(resolver: Resolver, senders: Sequence[Sender], hostname: str, given: tuple[str, ...]) -> list[Check]:
    """The egress addresses of all senders. Those behind a NAT have another address, which nobody here knows."""
    leaving = [sender for sender in senders if not sender.upstream]
    addresses = dict.fromkeys([*given, *(address for sender in leaving for address in sender.egress)])

    async def unknown() -> list[Finding]:
        return [egress.unknown_egress(egress.addresses_of_this_machine())]

    def one(address: str) -> list[Check]:
        return [
            Check(f"reverse DNS of {address}", lambda: egress.check_address(resolver, address, hostname)),
            Check(f"SPF of {hostname}", lambda: egress.check_spf_of_name(resolver, address, hostname)),
        ]

    return [check for it in addresses for check in one(it)] or ([Check("egress", unknown)] if leaving else [])


def _of_port(installed: Installation, resolver: Resolver, domain: str) -> Check:
    port = getattr(getattr(installed.of("delivery", None), "route", None), "port", _SMTP_PORT)
    return Check(f"port {port} of {domain}", lambda: installation.check_port(resolver, domain, port))


def _of_installation(installed: Installation, resolver: Resolver, within_s: float) -> list[Check]:
    sections, hostname = installed.sections, installed.hostname
    checks: list[Check] = []
    tls = getattr(sections.get("ingress"), "tls", None)
    if tls is not None:
        checks.append(Check("certificate", lambda: installation.check_certificate(tls.certificate, hostname)))
    if "nats" in sections and "queue" in sections:
        nats: Nats = sections["nats"]
        queue: QueueSettings = sections["queue"]
        checks.append(Check("nats", lambda: installation.check_nats(nats, queue)))
    if "delivery" in sections:
        delivery = sections["delivery"]
        patience_s = within_s * 0.9
        checks.append(
            Check("upstreams", lambda: installation.check_upstreams(delivery, resolver, hostname, patience_s))
        )
    return checks
