"""What would happen to a message: which route it takes, to which hosts, on what terms. Nothing is sent.

The answer is made of mappings and texts, for people and as JSON.
"""

import random
from collections.abc import Sequence
from typing import Any

from delivery.route import mx
from delivery.route.actions.kinds import Discard, Fail, ToHosts, ToLmtp, ToMx
from delivery.route.endpoint import WITH_PASSWORDS, ConnectionTerms, Login
from delivery.route.hosts import left_out
from delivery.route.mx import Route
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
        told = {"kind": action.kind, **_terms(action.terms(name, self._usual.source)), **_planned(planned)}
        told["left_out"] = await self._without_addresses(action)
        return told

    async def _by_mx(self, domain: str, routing: Routing, terms: ConnectionTerms) -> Told:
        planned = await plan(domain, self._resolver, routing, terms, own=self._hostname, draw=random.random)
        return {
            "kind": "mx",
            **_terms(terms),
            **_planned(planned),
            "left_out": await self._mx_left_out(domain, planned),
        }

    async def _without_addresses(self, action: ToHosts | ToLmtp) -> list[str]:
        located = await locate(action.hosts, self._resolver)
        return [left_out(it) for it in located if not isinstance(it.ipv4, Found) and not isinstance(it.ipv6, Found)]

    async def _mx_left_out(self, domain: str, planned: Route | Deferred | Bounced) -> list[str]:
        """The MX hosts that are not tried, each with the reason."""
        answer = await self._resolver.mx(domain) if not mx.literal(domain) else NoData(0)
        if not isinstance(answer, Found):
            return []
        tried = {host.name for host in planned.hosts} if isinstance(planned, Route) else set()
        reasons = []
        for record in answer.records:
            if record.exchange and record.exchange not in tried:
                ipv4, ipv6 = await self._resolver.addresses(record.exchange)
                reasons.append(f"{record.exchange} (preference {record.preference}): {_why_not(ipv4, ipv6)}")
        return reasons


def _why_not(ipv4: Answer[str], ipv6: Answer[str]) -> str:
    for answer in (ipv4, ipv6):
        if isinstance(answer, Failed):
            return f"the address look-up failed: {answer.why}"
    if isinstance(ipv4, Found) or isinstance(ipv6, Found):
        return "it is this system, or not better than this system, or beyond delivery.route.hosts_max"
    return "it has no address in DNS, or is no host name"


def _planned(planned: Route | Deferred | Bounced) -> Told:
    if isinstance(planned, Route):
        hosts = [{"host": it.name, "port": it.port, "addresses": list(it.addresses)} for it in planned.hosts]
        return {"hosts": hosts, "result": "the hosts are tried in this order"}
    does = "deferred" if isinstance(planned, Deferred) else "bounces"
    return {"hosts": [], "result": f"{does}: {planned.status} {planned.why}"}


def _credentials(login: Login) -> Told:
    told: Told = {"name": login.name, "user": login.user, "mechanisms": list(login.mechanisms or WITH_PASSWORDS)}
    return told if login.tokens is None else told | {"issuer": login.tokens.host}


def _terms(terms: ConnectionTerms) -> Told:
    modes = {TlsMode.REQUIRED: "STARTTLS required", TlsMode.OPPORTUNISTIC: "STARTTLS if offered", TlsMode.NONE: "none"}
    tls = "implicit" if terms.implicit else modes[terms.tls]
    login = terms.login
    return {
        "tls": tls,
        "verified": terms.verified or "not verified",
        "credentials": None if login is None else _credentials(login),
        "source": terms.source or "chosen by the system",
        "protocol": terms.dialect.value,
    }
