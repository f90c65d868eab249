"""RFC 5321, 5.1: the hosts of a domain are tried in order of preference."""

from tests.conftest import MakeMx
from tests.fixtures.letters import LETTER
from tests.fixtures.system import System
from tests.fixtures.zone import ServedZone


async def test_the_preferred_host_is_used_while_it_answers(system: System, mx: MakeMx) -> None:
    second, first = await mx("ordered.test", preference=20), await mx("ordered.test", preference=10)

    await system.submit("ann@home.test", ["bob@ordered.test"], LETTER)

    await first.received("bob@ordered.test")
    await system.empty()
    assert second.connections == 0


async def test_the_next_host_takes_the_mail_when_the_first_is_down(system: System, mx: MakeMx) -> None:
    first, second = await mx("failing-over.test", preference=10), await mx("failing-over.test", preference=20)
    await first.stop()

    await system.submit("ann@home.test", ["bob@failing-over.test"], LETTER)

    await second.received("bob@failing-over.test")


async def test_the_next_host_takes_the_mail_when_the_first_is_closing(system: System, mx: MakeMx) -> None:
    await mx("closing.test", preference=10, replies={"CONNECT": "421 4.3.2 closing"})
    second = await mx("closing.test", preference=20)

    await system.submit("ann@home.test", ["bob@closing.test"], LETTER)

    await second.received("bob@closing.test")


async def test_a_refused_recipient_is_not_offered_to_the_next_host(system: System, mx: MakeMx) -> None:
    await mx("decided.test", preference=10, replies={"bob": "550 5.1.1 no such user"})
    second, home = await mx("decided.test", preference=20), await mx("home-of-decided.test")

    await system.submit("ann@home-of-decided.test", ["bob@decided.test"], LETTER)

    await home.received("ann@home-of-decided.test")
    assert second.connections == 0


async def test_a_domain_without_mx_is_its_own_host(system: System, mx: MakeMx, names: ServedZone) -> None:
    dest = await mx("implicit.test")
    names.add("implicit.test", a=[dest.address])

    await system.submit("ann@home.test", ["bob@implicit.test"], LETTER)

    await dest.received("bob@implicit.test")
