"""A kept connection carries the next message."""

from tests.conftest import MakeMx
from tests.fixtures.letters import LETTER
from tests.fixtures.system import System


async def test_messages_one_after_another_share_a_connection(system: System, mx: MakeMx) -> None:
    dest = await mx("reused.test")

    for number in range(5):
        await system.submit("ann@home.test", [f"u{number}@reused.test"], LETTER)
        await dest.received(f"u{number}@reused.test")

    assert dest.connections == 1


async def test_a_kept_connection_that_the_host_has_closed_costs_nothing(system: System, mx: MakeMx) -> None:
    dest = await mx("impatient.test")
    await system.submit("ann@home.test", ["first@impatient.test"], LETTER)
    await dest.received("first@impatient.test")
    for connection in list(dest.open):
        connection.abort()

    await system.submit("ann@home.test", ["second@impatient.test"], LETTER)

    await dest.received("second@impatient.test")
    assert dest.connections == 2
