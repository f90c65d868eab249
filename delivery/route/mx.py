"""Where mail for a domain goes: DNS answers in, ordered hosts out, or why there are none (RFC 5321, 5.1)."""

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, zip_longest
from typing import Literal, NamedTuple

from delivery.route.endpoint import ConnectionTerms, Endpoint
from jetpost.dns.answer import Answer, Failed, Found, MxRecord, NoData, NoDomain
from jetpost.mail.outcome import Bounced, Deferred
from jetpost.mail.reply import EnhancedStatus

BAD_DOMAIN = EnhancedStatus(5, 1, 2)
"""What stands right of the @ leads nowhere: no such domain, or one without MX and address."""
NULL_MX = EnhancedStatus(5, 1, 10)
NO_HOST = EnhancedStatus(5, 4, 4)
"""The domain is there and names its hosts, but they do not exist."""
LOOP = EnhancedStatus(5, 4, 6)
NO_FAMILY = EnhancedStatus(4, 4, 4)
"""Unable to route (RFC 3463, 3.5): a source address of the other family may be configured later."""
DNS_AWAY = EnhancedStatus(4, 4, 3)

Preference = Literal["ipv4", "ipv6", "any"]

# Underscores are no host names (RFC 952), but are met in MX records and do no harm.
_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}\Z)({_LABEL}\.)*{_LABEL}\Z")


class MxHost(NamedTuple):
    """One host to try, at its addresses in order."""

    name: str
    addresses: tuple[str, ...]
    port: int = 25


class Route(NamedTuple):
    """The plan of a hop: the hosts that take mail for a domain, in the order to try, and the terms of connections."""

    hosts: tuple[MxHost, ...]
    terms: ConnectionTerms = ConnectionTerms()
    unusable: tuple[tuple[MxHost, str], ...] = ()
    """Hosts that the configuration names and that have no address, each with the reason."""

    def endpoints(self) -> Iterator[Endpoint]:
        """Every address of every host, in the order to try."""
        for host in self.hosts:
            for address in host.addresses:
                yield Endpoint(host.name, address, host.port, self.terms)


class HostAnswers(NamedTuple):
    """What DNS said about one host."""

    name: str
    preference: int
    ipv4: Answer[str]
    ipv6: Answer[str]


def exchanges(
    domain: str, answer: Answer[MxRecord], own: str, draw: Callable[[], float]
) -> tuple[MxRecord, ...] | Deferred | Bounced:
    """The hosts for `domain` in the order to try, from the answer to its MX question.

    `own` is our own host name; `draw` gives numbers from [0, 1) that shuffle hosts of equal preference.
    """
    match answer:
        case Failed(why=why):
            return Deferred(DNS_AWAY, f"MX look-up for {domain} failed: {why}")
        case NoDomain():
            return Bounced(BAD_DOMAIN, f"domain {domain} does not exist")
        case NoData():
            records: Sequence[MxRecord] = (MxRecord(0, domain.lower()),)  # the implicit MX
        case Found(records=records):
            if [record.exchange for record in records] == [""]:
                return Bounced(NULL_MX, f"domain {domain} accepts no mail (null MX)")
    usable = [record for record in records if is_host_name(record.exchange)]
    if not usable:
        return Bounced(NO_HOST, f"the MX records of {domain} name no valid host")
    ordered = order(usable, own, draw)
    if not ordered:
        return _loop(domain, own)
    return ordered


def order(records: Sequence[MxRecord], own: str, draw: Callable[[], float]) -> tuple[MxRecord, ...]:
    """Hosts by preference, shuffled among equals by `draw`; each once.

    If our `own` name is among them, it and everything that is not better goes, or mail would circle among the hosts of
    the domain (RFC 5321, 5.1).
    """
    ours = [record.preference for record in records if record.exchange == own.lower()]
    better = [record for record in records if not ours or record.preference < min(ours)]
    best: dict[str, MxRecord] = {}
    for record in sorted(better, key=lambda record: (record.preference, draw())):
        best.setdefault(record.exchange, record)
    return tuple(best.values())


def before_us(hosts: Sequence[HostAnswers], own: frozenset[str]) -> tuple[HostAnswers, ...]:
    """Those of `hosts` that are better than the best one at an address of our `own`: the rule of `order` by address."""
    ours = [host.preference for host in hosts if not own.isdisjoint((*_found(host.ipv4), *_found(host.ipv6)))]
    return tuple(host for host in hosts if not ours or host.preference < min(ours))


def route(  # noqa: PLR0913 — what the configuration says of a hop
    domain: str,
    hosts: Sequence[HostAnswers],
    *,
    implicit: bool,
    own: frozenset[str] = frozenset(),
    source: str = "",
    prefer: Preference,
    addresses_max: int,
    port: int,
    draw: Callable[[], float],
) -> Route | Deferred | Bounced:
    """The hosts that have addresses; without any, an outcome: deferred if one of them may still turn out to have some.

    `implicit`: the only host is the domain itself, which has no MX records. `own` are addresses that are ours;
    `source` is the local address of connections.
    """
    if hosts and not (hosts := before_us(hosts, own)):
        return _loop(domain, "one of our own addresses")
    located = ((host.name, arrange(*fitting(host.ipv4, host.ipv6, source), prefer, draw)) for host in hosts)
    usable = tuple(MxHost(name, addresses[:addresses_max], port) for name, addresses in located if addresses)
    if usable:
        return Route(usable)
    for host in hosts:
        for answer in (host.ipv4, host.ipv6):
            if isinstance(answer, Failed):
                return Deferred(DNS_AWAY, f"address look-up for {host.name} failed: {answer.why}")
    if any(_found(host.ipv4) or _found(host.ipv6) for host in hosts):
        return Deferred(NO_FAMILY, f"no MX host of {domain} has an address that can be reached from {source}")
    if implicit:
        return Bounced(BAD_DOMAIN, f"domain {domain} has neither MX nor address records")
    return Bounced(NO_HOST, f"no MX host of {domain} has an address: {', '.join(host.name for host in hosts)}")


def fitting(ipv4: Answer[str], ipv6: Answer[str], source: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The addresses of both families to which connections from `source` are possible; empty: from any address."""
    if not source:
        return _found(ipv4), _found(ipv6)
    return ((), _found(ipv6)) if ":" in source else (_found(ipv4), ())


def arrange(ipv4: Sequence[str], ipv6: Sequence[str], prefer: Preference, draw: Callable[[], float]) -> tuple[str, ...]:
    """A host's addresses in the order to try: each family shuffled, the preferred one first, then by turns.

    By turns, so that a network in which one family does not work costs one attempt and not all of them.
    """
    families = [sorted(family, key=lambda _: draw()) for family in (ipv4, ipv6)]
    if prefer == "ipv6" or (prefer == "any" and draw() < 0.5):
        families.reverse()
    return tuple(address for address in chain.from_iterable(zip_longest(*families)) if address)


def _loop(domain: str, best: str) -> Bounced:
    return Bounced(LOOP, f"mail for {domain} loops back: {best} is its best MX")


def literal(domain: str) -> Bounced | None:
    """Why nothing is delivered to `domain` if it is an address and not a name; None if it is a name.

    Mail is routed by MX records, and an address literal (RFC 5321, 4.1.3) has none.
    """
    if not is_host_name(domain.lower()):
        return Bounced(BAD_DOMAIN, f"{domain} is not a domain name; mail to address literals is not delivered")
    return None


def is_host_name(name: str) -> bool:
    """Whether `name` (lower case, A-labels) can be the name of a host: in its form, and not an address."""
    return bool(_HOST_NAME.match(name)) and not name.rpartition(".")[2].isdigit()


def _found(answer: Answer[str]) -> tuple[str, ...]:
    return answer.records if isinstance(answer, Found) else ()
