"""The hosts that a route names: their order, and which of them can be tried. Pure."""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple

from delivery.route.actions.kinds import Host
from delivery.route.endpoint import ConnectionTerms
from delivery.route.mx import MxHost, Preference, Route, arrange, fitting
from jetpost.dns.answer import Answer, Failed, Found
from jetpost.mail.outcome import Deferred
from jetpost.mail.reply import EnhancedStatus

NO_ADDRESS = EnhancedStatus(4, 4, 4)
"""Unable to route (RFC 3463, 3.5): also when DNS says that a host does not exist, as the configuration may be wrong."""


class Located(NamedTuple):
    """A host, and what DNS said about its addresses."""

    host: Host
    ipv4: Answer[str]
    ipv6: Answer[str]


def ordered(hosts: Sequence[Host], draw: Callable[[], float]) -> tuple[Host, ...]:
    """`hosts` by preference; those of equal preference by chance, as often first as their weight (RFC 2782).

    `draw` gives numbers from [0, 1).
    """
    found: list[Host] = []
    for _, equals in groupby(sorted(hosts, key=lambda host: host.preference), key=lambda host: host.preference):
        left = sorted(equals, key=lambda host: host.weight)  # 0 first: it is drawn only by the lowest of numbers
        while left:
            found.append(left.pop(_chosen([host.weight for host in left], draw())))
    return tuple(found)


def _chosen(weights: Sequence[int], drawn: float) -> int:
    """The index of the first whose running sum exceeds the share `drawn` of all."""
    total = sum(weights)
    if not total:
        return int(drawn * len(weights))
    running = 0
    for index, weight in enumerate(weights):
        running += weight
        if running > drawn * total:
            return index
    return len(weights) - 1


def route_to(
    route: str,
    located: Sequence[Located],
    terms: ConnectionTerms,
    *,
    usual_port: int,
    prefer: Preference,
    addresses_max: int,
    draw: Callable[[], float],
) -> Route | Deferred:
    """The plan of a hop to the hosts that have addresses, in their order; deferred when none has."""
    usable, unusable = [], []
    for host, ipv4, ipv6 in located:
        addresses = arrange(*fitting(ipv4, ipv6, terms.source), prefer, draw)[:addresses_max]
        if addresses:
            usable.append(MxHost(host.host, addresses, host.port or usual_port))
        else:
            why = left_out(Located(host, ipv4, ipv6), terms.source)
            unusable.append((MxHost(host.host, (), host.port or usual_port), why))
    if usable:
        return Route(tuple(usable), terms, tuple(unusable))
    reasons = "; ".join(why for _, why in unusable)
    return Deferred(NO_ADDRESS, f"no host of route {route} has an address: {reasons}")


def left_out(located: Located, source: str) -> str:
    """Why a host cannot be tried from the local address `source`."""
    if isinstance(located.ipv4, Found) or isinstance(located.ipv6, Found):
        return f"{located.host.host} has no address that can be reached from {source}"
    for answer in (located.ipv4, located.ipv6):
        if isinstance(answer, Failed):
            return f"address look-up for {located.host.host} failed: {answer.why}"
    return f"{located.host.host} has no address in DNS"
