"""RFC 5321, 5.1: a host that finds itself among the MX hosts tries only those that are better."""

from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.addresses import loopback_address
from tests.fixtures.letters import LETTER
from tests.fixtures.system import System
from tests.fixtures.zone import ServedZone


async def test_our_own_name_as_the_best_mx_is_a_loop(system: System, mx: MakeMx, names: ServedZone) -> None:
    home = await mx("home-of-loop.test")
    backup = await mx("loop.test", preference=20)
    names.add("loop.test", mx=[(10, "jetpost.test"), (20, backup.name)])

    await system.submit("ann@home-of-loop.test", ["bob@loop.test"], LETTER)

    dsn = await home.received("ann@home-of-loop.test")
    assert dsn.delivery_status("bob@loop.test")["Status"] == "5.4.6"
    assert backup.connections == 0


async def test_our_own_address_is_known_under_any_name(make_system: MakeSystem, mx: MakeMx, names: ServedZone) -> None:
    ours = loopback_address()
    system = await make_system({"delivery.route.own_addresses": [ours]})
    names.add("alias-of-ours.test", a=[ours])
    names.add("circle.test", mx=[(10, "alias-of-ours.test")])
    home, better, worse = (
        await mx("home-of-circle.test"),
        await mx("behind.test"),
        await mx("behind.test", preference=30),
    )
    names.add("behind.test", mx=[(10, better.name), (20, "alias-of-ours.test"), (30, worse.name)])

    await system.submit("ann@home-of-circle.test", ["bob@circle.test"], LETTER)
    await system.submit("ann@home-of-circle.test", ["bob@behind.test"], LETTER)

    dsn = await home.received("ann@home-of-circle.test")
    assert dsn.delivery_status("bob@circle.test")["Status"] == "5.4.6"
    await better.received("bob@behind.test")
    await better.stop()
    await system.submit("ann@home-of-circle.test", ["carl@behind.test"], LETTER)
    await system.told(system.delivery[0], "deferred")
    assert worse.connections == 0
    await better.start()
    await better.received("carl@behind.test")
