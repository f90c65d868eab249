"""The way to a domain: ask DNS, let `mx` judge."""

import asyncio
from collections.abc import Callable
from typing import Annotated

from pydantic import Field

from delivery.route import mx
from delivery.route.mx import HostAnswers, Preference, Route
from jetpost.config.section import Section
from jetpost.dns.answer import NoData
from jetpost.dns.resolver import Resolver
from jetpost.mail.outcome import Bounced, Deferred


class Routing(Section):
    """Where mail goes."""

    port: Annotated[int, Field(ge=1, le=65535)] = 25
    """The port of every MX host. Anything but 25 is for tests and for a relay that takes everything."""
    prefer: Preference = "any"
    """The address family tried first: `ipv4`, `ipv6`, or `any` by chance. The other one follows."""
    hosts_max: Annotated[int, Field(ge=1)] = 10
    """MX hosts of a domain that are considered, best first."""
    addresses_max: Annotated[int, Field(ge=2)] = 4
    """Addresses tried of one host (RFC 5321, 5.1 asks for at least two)."""


async def plan(
    domain: str, resolver: Resolver, routing: Routing, *, own: str, draw: Callable[[], float]
) -> Route | Deferred | Bounced:
    """The hosts that take mail for `domain` (A-labels), or why there are none. Takes two look-ups at most in a row.

    `own` is our own host name, `draw` a source of numbers from [0, 1).
    """
    if refused := mx.literal(domain):
        return refused
    answer = await resolver.mx(domain)
    names = mx.exchanges(domain, answer, own, draw)
    if isinstance(names, Deferred | Bounced):
        return names
    names = names[: routing.hosts_max]
    if len(names) == 1:
        located = [await _locate(names[0], resolver)]
    else:
        async with asyncio.TaskGroup() as tasks:
            asking = [tasks.create_task(_locate(name, resolver)) for name in names]
        located = [asked.result() for asked in asking]
    return mx.route(
        domain,
        located,
        implicit=isinstance(answer, NoData),
        prefer=routing.prefer,
        addresses_max=routing.addresses_max,
        port=routing.port,
        draw=draw,
    )


async def _locate(name: str, resolver: Resolver) -> HostAnswers:
    ipv4, ipv6 = await resolver.addresses(name)
    return HostAnswers(name, ipv4, ipv6)
