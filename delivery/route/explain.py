"""What would happen to a message: which route it takes, to which hosts, on what terms. Nothing is sent.

The answer is made of mappings and texts, for people and as JSON.
"""

import random
from collections.abc import Sequence
from typing import Any

from delivery.route import mx
from delivery.route.actions.kinds import Discard, Fail, ToMx
from delivery.route.endpoint import WITH_PASSWORDS, ConnectionTerms, Login
from delivery.route.hosts import Located, left_out
from delivery.route.mx import HostAnswers, Route, fitting
from delivery.route.plan import Routing, locate, plan, plan_hosts
from delivery.route.rules import Facts, Fallback, Rule, Table
from delivery.security.requirement import TlsMode
from jetpost.dns.answer import Answer, Failed, Found, NoData
from jetpost.dns.resolver import Resolver
from jetpost.mail.address import domain_of
from jetpost.mail.outcome import Bounced, Deferred

Told = dict[str, Any]


class Explainer:
    """Says what the routes of a configuration would do."""

    def __init__(
        self, rules: Sequence[Rule], routing: Routing, usual: ConnectionTerms, *, hostname: str, resolver: Resolver
    ) -> None:
        self._rules = rules
        self._routing = routing
        self._usual = usual
        self._hostname = hostname
        self._resolver = resolver

    async def explain(self, recipient: str, *, sender: str, identity: str, listener: str, size: int) -> Told:
        """What would happen to a message of `size` bytes for `recipient`."""
        facts = Facts(domain_of(recipient), domain_of(sender), identity, listener, size)
        rule = Table(self._rules).first(facts)
        told: Told = {"recipient": recipient, "facts": facts._asdict(), "route": rule.name if rule else None}
        told["not_matched"] = [it.name for it in (self._rules[: self._rules.index(rule)] if rule else self._rules)]
        told["connections"] = rule.connections if rule is not None else None
        if rule is None:
            return told | await self._by_mx(facts.domain, self._routing, self._usual)
        match rule.action:
            case Discard():
                return told | {"kind": "discard", "result": "the message is discarded, and the sender is not told"}
            case Fail(status=status, text=text):
                return told | {"kind": "fail", "result": f"the recipient bounces: {status} {text}"}
            case action:
                told |= await self._by(facts.domain, rule.name, action)
        if rule.fallback is not None:
            told["fallback"] = await self._by(facts.domain, f"{rule.name}/fallback", rule.fallback)
        return told

    async def _by(self, domain: str, name: str, action: Fallback) -> Told:
        if isinstance(action, ToMx):
            routing = self._routing.model_copy(update={"port": action.port or self._routing.port})
            return await self._by_mx(domain, routing, action.terms(self._usual))
        planned = await plan_hosts(
            name, action, self._resolver, self._routing, source=self._usual.source, draw=random.random
        )
        terms = action.terms(name, self._usual.source)
        told = {"kind": action.kind, **_terms(terms), **_planned(planned)}
        located = await locate(action.hosts, self._resolver)
        told["left_out"] = [left_out(it, terms.source) for it in located if not any(_usable(it, terms.source))]
        for it in located:
            told["left_out"] += self._addresses_left_out(it.host.host, it.ipv4, it.ipv6, terms.source)
        return told

    async def _by_mx(self, domain: str, routing: Routing, terms: ConnectionTerms) -> Told:
        planned = await plan(domain, self._resolver, routing, terms, own=self._hostname, draw=random.random)
        return {
            "kind": "mx",
            **_terms(terms),
            **_planned(planned),
            "left_out": await self._mx_left_out(domain, planned, terms.source),
        }

    async def _mx_left_out(self, domain: str, planned: Route | Deferred | Bounced, source: str) -> list[str]:
        """The MX hosts that are not tried, and addresses of the others, each with the reason."""
        answer = await self._resolver.mx(domain) if not mx.literal(domain) else NoData(0)
        if not isinstance(answer, Found):
            return []
        tried = {host.name for host in planned.hosts} if isinstance(planned, Route) else set()
        located = [
            HostAnswers(it.exchange, it.preference, *await self._resolver.addresses(it.exchange))
            for it in answer.records
            if it.exchange
        ]
        ours = min((it.preference for it in located if self._own(it)), default=None)
        reasons = []
        for host in located:
            if host.name in tried:
                reasons += self._addresses_left_out(host.name, host.ipv4, host.ipv6, source)
            else:
                why = self._why_not(host, ours, source)
                reasons.append(f"{host.name} (preference {host.preference}): {why}")
        return reasons

    def _own(self, host: HostAnswers) -> str:
        """Why an MX host is this system; empty: it is not."""
        if host.name == self._hostname.lower():
            return "it is this system, by its name"
        own = {str(address) for address in self._routing.own_addresses}
        found = next((it for it in (*_found(host.ipv4), *_found(host.ipv6)) if it in own), None)
        return f"{found} is this system (delivery.route.own_addresses)" if found is not None else ""

    def _why_not(self, host: HostAnswers, ours: int | None, source: str) -> str:
        if own := self._own(host):
            return own
        if ours is not None and host.preference >= ours:
            return f"it is not better than this system, which has preference {ours}"
        for answer in (host.ipv4, host.ipv6):
            if isinstance(answer, Failed):
                return f"the address look-up failed: {answer.why}"
        if not _found(host.ipv4) and not _found(host.ipv6):
            return "it has no address in DNS, or is no host name"
        if not any(fitting(host.ipv4, host.ipv6, source)):
            return f"it has no address that can be reached from {source}"
        return f"it is beyond delivery.route.hosts_max ({self._routing.hosts_max})"

    def _addresses_left_out(self, host: str, ipv4: Answer[str], ipv6: Answer[str], source: str) -> list[str]:
        """Of a host that is tried: the addresses that are not, each with the reason."""
        fit = [address for family in fitting(ipv4, ipv6, source) for address in family]
        if not fit:
            return []
        others = [address for address in (*_found(ipv4), *_found(ipv6)) if address not in fit]
        reasons = [f"{address} of {host}: it cannot be reached from the source address {source}" for address in others]
        beyond = len(fit) - self._routing.addresses_max
        if beyond > 0:
            reasons.append(
                f"{beyond} of the {len(fit)} addresses of {host}, by chance: they are beyond "
                f"delivery.route.addresses_max ({self._routing.addresses_max})"
            )
        return reasons


def _usable(located: Located, source: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return fitting(located.ipv4, located.ipv6, source)


def _found(answer: Answer[str]) -> tuple[str, ...]:
    return answer.records if isinstance(answer, Found) else ()


def _planned(planned: Route | Deferred | Bounced) -> Told:
    if isinstance(planned, Route):
        hosts = [{"host": it.name, "port": it.port, "addresses": list(it.addresses)} for it in planned.hosts]
        return {"hosts": hosts, "result": "the hosts are tried in this order"}
    does = "deferred" if isinstance(planned, Deferred) else "bounces"
    return {"hosts": [], "result": f"{does}: {planned.status} {planned.why}"}


def _credentials(login: Login) -> Told:
    told: Told = {"name": login.name, "user": login.user, "mechanisms": list(login.mechanisms or WITH_PASSWORDS)}
    return told if login.tokens is None else told | {"issuer": login.tokens.host}


def _verified(terms: ConnectionTerms) -> str:
    if not terms.pins:
        return terms.verified or "not verified"
    return f"{terms.verified} and a pinned key" if terms.verified else "a pinned key"


def _terms(terms: ConnectionTerms) -> Told:
    modes = {TlsMode.REQUIRED: "STARTTLS required", TlsMode.OPPORTUNISTIC: "STARTTLS if offered", TlsMode.NONE: "none"}
    tls = "implicit" if terms.implicit else modes[terms.tls]
    login = terms.login
    return {
        "tls": tls,
        "verified": _verified(terms),
        "pins": list(terms.pins),
        "client_certificate": None if terms.client is None else terms.client.certificate_file,
        "credentials": None if login is None else _credentials(login),
        "source": terms.source or "chosen by the system",
        "protocol": terms.dialect.value,
    }
