"""Whether a domain lets an address send its mail: check_host (RFC 7208, 4), over Jetpost's own resolver."""

import asyncio
import re
import time
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address, ip_network
from typing import NamedTuple, TypeVar

from jetpost.dns.answer import Answer, Failed, Found, MxRecord, NoData, NoDomain
from jetpost.dns.resolver import Resolver
from jetpost.sender.spf.macros import Ip, expand, expand_domain, is_macro_string, letters_of, plain_ip, values_for
from jetpost.sender.spf.record import Malformed, Mechanism, Record, Result, is_spf, parse

MOST_LOOKUPS = 10
"""Terms that query DNS (RFC 7208, 4.6.4)."""
MOST_VOID = 2
"""Queries without an answer."""
MOST_NAMES = 10
"""MX hosts, and names of an address."""
PATIENCE_S = 20.0
"""For all of it (RFC 7208, 4.6.4 asks for 20 s at least)."""

T = TypeVar("T", MxRecord, str)

_SHORT_CHARACTERS = 2048
_MOST_EXPLANATION_CHARACTERS = 1000
_NAME = re.compile(r"(?!.{254})(?:[^.\s]{1,63}\.)+[^.\s]{1,63}\.?")
_QUERY_KINDS = frozenset({"include", "a", "mx", "ptr", "exists"})


class Verdict(NamedTuple):
    """What SPF says, and why."""

    result: Result
    why: str = ""
    """For people: the term that matched, or what is wrong."""
    explanation: str = ""
    """What the domain says about a fail (`exp=`)."""
    lookups: int = 0
    """Terms that queried DNS; `MOST_LOOKUPS` are allowed."""


class _Ended(Exception):  # noqa: N818 — the end of the evaluation, from any depth of its recursion
    """The evaluation ends with an error (RFC 7208, 2.6.6 and 2.6.7)."""

    def __init__(self, result: Result, why: str) -> None:
        super().__init__(why)
        self.result, self.why = result, why


@dataclass
class _State:
    """What the whole evaluation shares."""

    resolver: Resolver
    ip: Ip
    values: dict[str, str]
    lookups: int = 0
    void: int = 0
    names: dict[str, str] = field(default_factory=dict)
    """The validated name (`%{p}`) by the domain it was sought for."""


async def check_host(
    resolver: Resolver, address: str, domain: str, sender: str = "", helo: str = "", *, patience_s: float = PATIENCE_S
) -> Verdict:
    """What `domain` says about mail from the IP `address`; `sender` is the reverse-path, "" its HELO identity.

    It ends within `patience_s`. ValueError: `address` is no IP address.
    """
    local, at, of = sender.rpartition("@")
    sender = f"{local or 'postmaster'}@{of if at else domain}"
    ip = plain_ip(address)
    state = _State(resolver, ip, {**values_for(ip, sender, helo or domain), "t": str(int(time.time()))})
    try:
        async with asyncio.timeout(patience_s):
            verdict = await _check(state, domain)
    except TimeoutError:
        verdict = Verdict(Result.TEMPERROR, f"DNS took more than {patience_s:g} s")
    except _Ended as ended:
        verdict = Verdict(ended.result, ended.why)
    return verdict._replace(lookups=state.lookups)


async def _check(state: _State, domain: str) -> Verdict:
    record = await _record(state, domain)
    if record is None:
        return Verdict(Result.NONE, f"{domain} has no SPF record")
    for mechanism in record.mechanisms:
        if await _matches(state, domain, mechanism):
            explanation = ""
            if mechanism.qualifier is Result.FAIL and record.explanation:
                explanation = await _explanation(state, domain, record.explanation)
            return Verdict(mechanism.qualifier, f"`{mechanism.text}` of {domain} matches", explanation)
    if not record.redirect:
        return Verdict(Result.NEUTRAL, f"no mechanism of {domain} matches")
    _count(state)
    target = await _expanded(state, domain, record.redirect)
    redirected = await _check(state, target)
    if redirected.result is Result.NONE:
        raise _Ended(Result.PERMERROR, f"`redirect={record.redirect}` of {domain}: {target} has no SPF record")
    return redirected


async def _record(state: _State, domain: str) -> Record | None:
    """The only record of `domain`; None when there is none."""
    if _NAME.fullmatch(domain) is None:
        return None
    answer = await state.resolver.txt(domain)
    if isinstance(answer, Failed):
        raise _Ended(Result.TEMPERROR, f"TXT of {domain}: {answer.why}")
    texts = [text for text in answer.records if is_spf(text)] if isinstance(answer, Found) else []
    if not texts:
        return None
    if len(texts) > 1:
        raise _Ended(Result.PERMERROR, f"{domain} has {len(texts)} SPF records")
    record = await _parsed(texts[0])
    if isinstance(record, Malformed):
        raise _Ended(Result.PERMERROR, f"the SPF record of {domain}: {record.why}")
    if any(mechanism.kind == "all" for mechanism in record.mechanisms):
        record = record._replace(redirect="")  # RFC 7208, 6.1
    return record


async def _parsed(text: str) -> Record | Malformed:
    """The record in `text`. Thousands of terms take some ten milliseconds: beside the event loop."""
    return parse(text) if len(text) <= _SHORT_CHARACTERS else await asyncio.to_thread(parse, text)


async def _matches(state: _State, domain: str, mechanism: Mechanism) -> bool:
    kind = mechanism.kind
    if kind in _QUERY_KINDS:
        _count(state)
    if kind == "all":
        return True
    if mechanism.network is not None:
        return state.ip in mechanism.network
    target = await _expanded(state, domain, mechanism.domain) if mechanism.domain else domain
    match kind:
        case "include":
            return await _includes(state, domain, target)
        case "a":
            return _any_in(state.ip, await _addresses(state, target), mechanism)
        case "mx":
            return await _is_mx(state, target, mechanism)
        case "ptr":
            return any(name == target.lower() or name.endswith(f".{target.lower()}") for name in await _names(state))
        case _:  # exists
            found = await state.resolver.a(target)
            return bool(_heard(state, target, found))


async def _includes(state: _State, domain: str, target: str) -> bool:
    included = await _check(state, target)
    if included.result is Result.NONE:
        raise _Ended(Result.PERMERROR, f"`include:{target}` of {domain}: {target} has no SPF record")
    return included.result is Result.PASS


async def _is_mx(state: _State, target: str, mechanism: Mechanism) -> bool:
    hosts = _heard(state, target, await state.resolver.mx(target))
    if len(hosts) > MOST_NAMES:
        raise _Ended(Result.PERMERROR, f"{target} has more than {MOST_NAMES} MX hosts")
    for host in hosts:
        if host.exchange and _any_in(state.ip, await _addresses(state, host.exchange), mechanism):
            return True
    return False


async def _addresses(state: _State, name: str) -> tuple[str, ...]:
    """Those of the family of the client. A name that has addresses of the other family only is no void look-up."""
    is_ipv4 = isinstance(state.ip, IPv4Address)
    answer = await (state.resolver.a(name) if is_ipv4 else state.resolver.aaaa(name))
    if isinstance(answer, NoData):
        other = await (state.resolver.aaaa(name) if is_ipv4 else state.resolver.a(name))
        if isinstance(other, Found):
            return ()
    return _heard(state, name, answer)


async def _names(state: _State) -> list[str]:
    """The names of the client's address that have this address (RFC 7208, 5.5). Failures are no names."""
    answer = await state.resolver.ptr(str(state.ip))
    if not isinstance(answer, Found):
        if not isinstance(answer, Failed):
            _void(state, str(state.ip))
        return []
    is_ipv4 = isinstance(state.ip, IPv4Address)
    names = answer.records[:MOST_NAMES]
    asking = [state.resolver.a(name) if is_ipv4 else state.resolver.aaaa(name) for name in names]
    found = zip(names, await asyncio.gather(*asking), strict=True)
    return [name for name, it in found if isinstance(it, Found) and state.ip in map(ip_address, it.records)]


async def _expanded(state: _State, domain: str, spec: str) -> str:
    """A domain-spec with its macros replaced."""
    if "%" not in spec:
        return spec.removesuffix(".")
    return expand_domain(spec, await _values(state, domain, spec))


async def _values(state: _State, domain: str, spec: str) -> dict[str, str]:
    values = {**state.values, "d": domain}
    if "p" in letters_of(spec):
        if domain not in state.names:
            state.names[domain] = _best(domain, await _names(state))
        values["p"] = state.names[domain]
    return values


def _best(domain: str, names: list[str]) -> str:
    """The validated name: the domain itself, else a name below it, else any, else `unknown` (RFC 7208, 7.3)."""
    lower = domain.lower()
    below = [name for name in names if name.endswith(f".{lower}")]
    return lower if lower in names else next(iter([*below, *names]), "unknown")


async def _explanation(state: _State, domain: str, spec: str) -> str:
    """What the domain says to a fail (RFC 7208, 6.2); "" when it says nothing of use."""
    answer = await state.resolver.txt(await _expanded(state, domain, spec))
    if not isinstance(answer, Found) or len(answer.records) != 1:
        return ""
    text = answer.records[0]
    if not text.isascii() or not is_macro_string(text, explains=True):
        return ""
    return expand(text, await _values(state, domain, text))[:_MOST_EXPLANATION_CHARACTERS]


def _any_in(ip: Ip, addresses: tuple[str, ...], mechanism: Mechanism) -> bool:
    bits = mechanism.ipv4_bits if isinstance(ip, IPv4Address) else mechanism.ipv6_bits
    return any(ip in ip_network(f"{address}/{bits}", strict=False) for address in addresses)


def _heard(state: _State, name: str, answer: Answer[T]) -> tuple[T, ...]:
    """The records of an answer; none count as void."""
    match answer:
        case Found(records=records):
            return records
        case Failed(why=why):
            raise _Ended(Result.TEMPERROR, f"{name}: {why}")
        case NoData() | NoDomain():
            _void(state, name)
            return ()


def _void(state: _State, name: str) -> None:
    state.void += 1
    if state.void > MOST_VOID:
        raise _Ended(Result.PERMERROR, f"{name}: more than {MOST_VOID} look-ups without an answer")


def _count(state: _State) -> None:
    state.lookups += 1
    if state.lookups > MOST_LOOKUPS:
        raise _Ended(Result.PERMERROR, f"more than {MOST_LOOKUPS} terms that query DNS")
