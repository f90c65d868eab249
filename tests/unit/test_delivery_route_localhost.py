"""`localhost` in a route is this machine, and DNS is not asked (RFC 6761, 6.3); in MX records it is a name like any."""

import asyncio

import pytest

from delivery.route.actions.kinds import Host, ToHosts
from delivery.route.endpoint import ConnectionTerms
from delivery.route.mx import Route
from delivery.route.plan import Routing, plan, plan_hosts
from jetpost.dns.resolver import Dns, Resolver
from jetpost.mail.outcome import Bounced, Deferred

NOBODY = Dns(nameservers=("127.0.0.1:1",), timeout_s=0.1, lifetime_s=0.1)
"""Nothing listens there: what asks it, fails."""


def planned(name: str, source: str = "") -> Route | Deferred:
    action = ToHosts(kind="hosts", hosts=(Host(host=name),))

    async def asked() -> Route | Deferred:
        resolver = Resolver(NOBODY)
        try:
            return await plan_hosts("r", action, resolver, Routing(prefer="ipv4"), source=source, draw=lambda: 0.0)
        finally:
            await resolver.aclose()

    return asyncio.run(asked())


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST", "localhost.", "relay.localhost", "a.b.localhost."])
@pytest.mark.parametrize(
    ("source", "addresses"),
    [("", ("127.0.0.1", "::1")), ("127.0.0.1", ("127.0.0.1",)), ("::1", ("::1",))],
)
def test_it_is_loopback(name: str, source: str, addresses: tuple[str, ...]) -> None:
    route = planned(name, source)
    assert isinstance(route, Route)
    assert [host.addresses for host in route.hosts] == [addresses]


@pytest.mark.parametrize("name", ["mylocalhost", "localhost.example", "localhost.test"])
def test_other_names_are_asked_of_dns(name: str) -> None:
    deferred = planned(name)
    assert isinstance(deferred, Deferred)
    assert "look-up" in deferred.why


def test_mail_for_the_domain_localhost_is_not_taken_to_this_machine() -> None:
    async def asked() -> Route | Deferred | Bounced:
        resolver = Resolver(NOBODY)
        try:
            return await plan("localhost", resolver, Routing(), ConnectionTerms(), own="mx.test", draw=lambda: 0.0)
        finally:
            await resolver.aclose()

    assert not isinstance(asyncio.run(asked()), Route)
