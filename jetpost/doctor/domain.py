"""What receivers find out about a sender domain, as findings."""

import re
from typing import NamedTuple

from jetpost.dns.answer import Answer, Failed, Found, NoData, NoDomain
from jetpost.dns.resolver import Resolver
from jetpost.doctor.finding import Finding, error, ok, skipped, unchecked, warning
from jetpost.doctor.records import dmarc_line, report_line, spf_line
from jetpost.sender.dmarc.discovery import Discovery, Dmarc
from jetpost.sender.dmarc.record import is_dmarc
from jetpost.sender.gate import Fault, Sending, standing
from jetpost.sender.spf.evaluate import MOST_LOOKUPS, Verdict, check_host
from jetpost.sender.spf.record import Result, is_spf
from jetpost.sign.keys import KeyRing, SigningKey
from jetpost.sign.record import Finding as KeyFinding
from jetpost.sign.record import finding, record_name, zone_line

_POLICY_TAG = re.compile(r";\s*p\s*=")
_FEW_LOOKUPS_LEFT = 2
_MOST_REPORT_DOMAINS = 8


class Sender(NamedTuple):
    """A sender domain, and how its mail leaves."""

    domain: str
    keys: KeyRing
    egress: tuple[str, ...]
    """IP addresses."""
    upstream: str
    """The route that takes its mail to a smart host; "" when it leaves from `egress`."""


async def check_mx(resolver: Resolver, domain: str) -> list[Finding]:
    """Whether the domain takes mail."""
    answer = await resolver.mx(domain)
    match answer:
        case Failed(why=why):
            return [unchecked("domain", domain, f"MX cannot be looked up: {why}")]
        case NoDomain():
            mend = "Check the spelling, or register it. Below a domain of yours, publish its records."
            return [error("domain", domain, "the domain does not exist in DNS (NXDOMAIN)", mend)]
        case NoData():
            answers = await resolver.addresses(domain)
            failed = next((it for it in answers if isinstance(it, Failed)), None)
            if failed and not any(isinstance(it, Found) for it in answers):
                return [unchecked("domain", domain, f"there is no MX record, and addresses fail: {failed.why}")]
            if any(isinstance(it, Found) for it in answers):
                found = "there is no MX record, so mail goes to the address of the domain itself"
                return [warning("domain", domain, found)]
            return [error("domain", domain, "there is neither an MX record nor an address, so it takes no mail")]
        case Found(records=records):
            if any(not it.exchange for it in records):
                return [error("domain", domain, "a null MX says that the domain takes no mail (RFC 7505)")]
            return [await _mx_hosts(resolver, domain, [it.exchange for it in records])]


async def _mx_hosts(resolver: Resolver, domain: str, hosts: list[str]) -> Finding:
    """Whether the MX hosts have addresses."""
    answers = [await resolver.addresses(host) for host in hosts]
    found = [host for host, both in zip(hosts, answers, strict=True) if any(isinstance(it, Found) for it in both)]
    failed = {
        host: it.why
        for host, both in zip(hosts, answers, strict=True)
        if host not in found
        for it in both
        if isinstance(it, Failed)
    }
    if failed:
        return unchecked("domain", domain, "; ".join(f"the addresses of {host}: {why}" for host, why in failed.items()))
    if not found:
        return error("domain", domain, f"no MX host has an address: {', '.join(hosts)}")
    if without := [host for host in hosts if host not in found]:
        return warning("domain", domain, f"MX hosts without an address: {', '.join(without)}")
    return ok("domain", domain, f"mail goes to {', '.join(hosts)}")


async def check_spf(resolver: Resolver, sender: Sender) -> list[Finding]:
    """Whether SPF passes for each egress address."""
    domain = sender.domain
    if sender.upstream:
        return [
            skipped("spf", domain, f"its mail leaves through the route {sender.upstream}: see its provider's guide")
        ]
    if not sender.egress:
        return [skipped("spf", domain, "no egress address is known: name one with --from-ip")]
    answer = await resolver.txt(domain)
    existing = [it for it in answer.records if is_spf(it)] if isinstance(answer, Found) else []
    verdicts = [(address, await check_host(resolver, address, domain)) for address in sender.egress]
    findings = [_spf_finding(domain, address, verdict, existing) for address, verdict in verdicts]
    most = max(verdict.lookups for _, verdict in verdicts)
    if MOST_LOOKUPS - _FEW_LOOKUPS_LEFT < most <= MOST_LOOKUPS:
        findings.append(warning("spf-limits", domain, f"{most} of {MOST_LOOKUPS} look-ups are used"))
    elif most <= MOST_LOOKUPS:
        findings.append(ok("spf-limits", domain, f"{most} of {MOST_LOOKUPS} look-ups are used"))
    return findings


def _spf_finding(domain: str, address: str, verdict: Verdict, existing: list[str]) -> Finding:
    about, found = f"{domain} from {address}", f"{verdict.result}: {verdict.why}"
    match verdict.result:
        case Result.PASS:
            return ok("spf", about, found)
        case Result.TEMPERROR:
            mend = "See why the name servers fail; receivers defer or distrust the mail."
            return unchecked("spf", about, found, mend)
        case Result.PERMERROR if len(existing) > 1:
            return error("spf", about, found, "Publish one record in place of these.")
        case Result.PERMERROR:
            return error("spf", about, found, "Correct the record; receivers treat a broken one as none.")
        case Result.NONE | Result.NEUTRAL | Result.FAIL | Result.SOFTFAIL:
            publish = (spf_line(domain, existing[0] if existing else "", (address,)),)
            return error(
                "spf", about, found, "Publish this in place of the present record." if existing else "", publish
            )


async def check_dkim(resolver: Resolver, sender: Sender) -> list[Finding]:
    """Whether keys sign for the domain, and match their records."""
    keys = sender.keys.keys_for(sender.domain)
    if not keys and sender.upstream:
        return [skipped("dkim", sender.domain, f"no key here; the provider behind {sender.upstream} may sign")]
    if not keys:
        return [warning("dkim", sender.domain, "no key signs for this domain (`dkim.keys`)")]
    findings = [_key_finding(key, await resolver.txt(record_name(key.domain, key.selector))) for key in keys]
    if all(key.algorithm != "rsa-sha256" for key in keys):
        findings.append(
            warning("dkim-algorithm", sender.domain, "its only keys are Ed25519, which Gmail does not verify")
        )
    return findings


def _key_finding(key: SigningKey, answer: Answer[str]) -> Finding:
    name = record_name(key.domain, key.selector)
    if isinstance(answer, Failed):
        return unchecked("dkim", name, f"the record cannot be looked up: {answer.why}")
    found = finding(answer.records if isinstance(answer, Found) else (), key.private)
    if found is KeyFinding.MATCHES:
        return ok("dkim", name, "the record matches the key")
    publish = (zone_line(key.domain, key.selector, key.private),)
    mend = "Publish this record alone under that name; until then the signatures fail."
    return error("dkim", name, str(found), mend, publish)


async def check_dmarc(resolver: Resolver, sender: Sender) -> list[Finding]:
    """Whether a DMARC record applies, and its reports are wanted where they go."""
    domain = sender.domain
    discovery = await Dmarc(resolver).discover(domain)
    if discovery.placed is None:
        return [await _no_dmarc(resolver, domain, discovery)]
    record = discovery.placed.record
    found = f"the record of {discovery.placed.domain} applies, the policy is {discovery.policy}"
    if _POLICY_TAG.search(record.text) is None:
        findings = [
            warning("dmarc", domain, f"{found}: it has no `p`, which older receivers insist on", "Add `p=none`.")
        ]
    else:
        findings = [ok("dmarc", domain, found)]
    return [*findings, *await _reports(resolver, discovery)]


async def _no_dmarc(resolver: Resolver, domain: str, discovery: Discovery) -> Finding:
    if discovery.trouble:
        return unchecked("dmarc", domain, discovery.trouble)
    publish = (dmarc_line(domain),)
    answer = await resolver.txt(f"_dmarc.{domain}")
    texts = answer.records if isinstance(answer, Found) else ()
    count = sum(map(is_dmarc, texts))
    if count > 1:
        return error("dmarc", domain, f"there are {count} DMARC records, which count as none", "Leave one.", publish)
    if texts:
        found = f"what is at _dmarc.{domain} is no valid DMARC record: {texts[0][:200]}"
        return error("dmarc", domain, found, "Publish this in its place.", publish)
    return error("dmarc", domain, f"there is no DMARC record for {domain}, nor above it", publish=publish)


async def _reports(resolver: Resolver, discovery: Discovery) -> list[Finding]:
    """Whether other organizations agree to get the reports."""
    placed = discovery.placed
    if placed is None or not placed.record.reports_to:
        return []
    dmarc = Dmarc(resolver)
    findings: list[Finding] = []
    addresses = [
        uri.strip().partition("!")[0].rpartition("@")[2].lower() for uri in placed.record.reports_to.split(",")
    ]
    for receiver in list(dict.fromkeys(filter(None, addresses)))[:_MOST_REPORT_DOMAINS]:
        if await dmarc.aligned(discovery, placed.domain, receiver, strict=False) is not False:
            continue
        answer = await resolver.txt(f"{placed.domain}._report._dmarc.{receiver}")
        if isinstance(answer, Failed):
            why = f"whether {receiver} agrees to get reports: {answer.why}"
            findings.append(unchecked("dmarc-reports", placed.domain, why))
            continue
        if isinstance(answer, Found) and any(map(is_dmarc, answer.records)):
            continue
        publish = (report_line(placed.domain, receiver),)
        findings.append(
            warning("dmarc-reports", placed.domain, f"{receiver} does not agree to get reports", "", publish)
        )
    return findings


async def check_alignment(resolver: Resolver, sender: Sender) -> list[Finding]:
    """Whether mail of the domain passes DMARC: a record applies, and a signature or SPF is aligned."""
    domain = sender.domain
    signs = tuple(dict.fromkeys(key.domain for key in sender.keys.keys_for(domain)))
    if sender.upstream and not signs:
        return [skipped("alignment", domain, f"it depends on the provider behind the route {sender.upstream}")]
    egress = () if sender.upstream else sender.egress
    if not signs and not egress:
        return [skipped("alignment", domain, "no key signs for it, and no egress address is known")]
    found = await standing(resolver, Sending(domain, domain, signs, egress))
    faults = [why for fault, why in found.faults if fault is Fault.NOT_AUTHENTICATED]
    if faults:
        return [error("alignment", domain, faults[0])]
    if found.unknown:
        return [unchecked("alignment", domain, found.unknown)]
    by = f"the signature of {signs[0]}" if found.aligned_dkim else f"SPF of {domain}"
    return [ok("alignment", domain, f"{by} is aligned with it")]
