"""The way to a domain, or to the hosts of a route: ask DNS, let `mx` and `hosts` judge."""

import asyncio
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from math import inf
from typing import Annotated

from pydantic import Field, IPvAnyAddress

from delivery.route import mx
from delivery.route.actions.kinds import Host, ToHosts, ToLmtp
from delivery.route.endpoint import ConnectionTerms
from delivery.route.hosts import Located, ordered, route_to
from delivery.route.mx import HostAnswers, MxHost, Preference, Route
from delivery.shaping.throttles import RouteHost
from jetpost.config.section import Section
from jetpost.dns.answer import Answer, Found, MxRecord, NoData
from jetpost.dns.resolver import Resolver
from jetpost.mail.outcome import Bounced, Deferred

_HERE = "localhost"
"""The name of a host behind a unix socket, in logs and DSNs: a path is nothing for senders."""

_LOOPBACK: tuple[Answer[str], Answer[str]] = Found(("127.0.0.1",), inf), Found(("::1",), inf)


class Routing(Section):
    """Where mail goes."""

    port: Annotated[int, Field(ge=1, le=65535)] = 25
    """The port of every MX host. Anything but 25 is for tests and for a relay that takes everything."""
    own_addresses: tuple[IPvAnyAddress, ...] = ()
    """Addresses at which this system takes mail on that port, of whatever name: those of its load balancer, or of the
    machine. An MX host at one of them is this system. It is not tried, and neither are hosts of equal or lower
    preference. If no host is left, the mail would loop, and bounces with 5.4.6 (RFC 5321, 5.1). Delivery cannot detect
    the addresses, because other pods accept mail."""
    prefer: Preference = "any"
    """The address family tried first: `ipv4`, `ipv6`, or `any` by chance. The other one follows."""
    hosts_max: Annotated[int, Field(ge=1)] = 10
    """MX hosts of a domain that are considered, best first."""
    addresses_max: Annotated[int, Field(ge=2)] = 4
    """Addresses tried of one host (RFC 5321, 5.1 asks for at least two)."""


async def plan(
    domain: str, resolver: Resolver, routing: Routing, terms: ConnectionTerms, *, own: str, draw: Callable[[], float]
) -> Route | Deferred | Bounced:
    """The hosts that take mail for `domain` (A-labels), or why there are none. Takes two look-ups at most in a row.

    `terms` are those of connections, `own` is our own host name, `draw` a source of numbers from [0, 1).
    """
    if refused := mx.literal(domain):
        return refused
    answer = await resolver.mx(domain)
    exchanges = mx.exchanges(domain, answer, own, draw)
    if isinstance(exchanges, Deferred | Bounced):
        return exchanges
    exchanges = exchanges[: routing.hosts_max]
    if len(exchanges) == 1:
        located = [await _locate(exchanges[0], resolver)]
    else:
        async with asyncio.TaskGroup() as tasks:
            asking = [tasks.create_task(_locate(exchange, resolver)) for exchange in exchanges]
        located = [asked.result() for asked in asking]
    found = mx.route(
        domain,
        located,
        implicit=isinstance(answer, NoData),
        own=frozenset(str(address) for address in routing.own_addresses),
        source=terms.source,
        prefer=routing.prefer,
        addresses_max=routing.addresses_max,
        port=routing.port,
        draw=draw,
    )
    return found._replace(terms=terms) if isinstance(found, Route) else found


async def _locate(exchange: MxRecord, resolver: Resolver) -> HostAnswers:
    ipv4, ipv6 = await resolver.addresses(exchange.exchange)
    return HostAnswers(exchange.exchange, exchange.preference, ipv4, ipv6)


async def plan_hosts(
    name: str, action: ToHosts | ToLmtp, resolver: Resolver, routing: Routing, *, source: str, draw: Callable[[], float]
) -> Route | Deferred:
    """The hosts of the route called `name` in the order to try, or why none can be. Takes one look-up at most.

    `source` is the usual local address of connections.
    """
    if isinstance(action, ToLmtp) and action.socket:
        return Route((MxHost(_HERE, (action.socket,), 0),), action.terms(name, source))
    return route_to(
        name,
        await locate(ordered(action.hosts, draw), resolver),
        action.terms(name, source),
        usual_port=action.usual_port,
        prefer=routing.prefer,
        addresses_max=routing.addresses_max,
        draw=draw,
    )


def route_hosts(name: str, action: ToHosts | ToLmtp) -> tuple[RouteHost, ...]:
    """The hosts of the route called `name`, as its pauses are kept."""
    if isinstance(action, ToLmtp) and action.socket:
        return (RouteHost(name, "", _HERE, 0),)
    return tuple(RouteHost(name, "", host.host, host.port or action.usual_port) for host in action.hosts)


async def locate(hosts: Sequence[Host], resolver: Resolver) -> list[Located]:
    """The addresses of each of `hosts`: its own when it is an address, loopback for `localhost`, else those in DNS."""
    async with asyncio.TaskGroup() as tasks:
        asking = [tasks.create_task(_located(host, resolver)) for host in hosts]
    return [asked.result() for asked in asking]


async def _located(host: Host, resolver: Resolver) -> Located:
    if host.host.rpartition(".")[2] == "localhost":  # never asked of DNS (RFC 6761, 6.3)
        return Located(host, *_LOOPBACK)
    try:
        version = ip_address(host.host).version
    except ValueError:
        return Located(host, *await resolver.addresses(host.host))
    own: Answer[str] = Found((host.host,), inf)
    none: Answer[str] = NoData(inf)
    return Located(host, own, none) if version == 4 else Located(host, none, own)
