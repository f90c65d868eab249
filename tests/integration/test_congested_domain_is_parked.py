"""What a congested domain cannot take yet waits in the queue, not in a process; and it is never forgotten there."""

import pytest

from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.letters import LETTER
from tests.fixtures.mx import Mx
from tests.fixtures.system import System

pytestmark = pytest.mark.asyncio(loop_scope="session")

TIGHT = {
    "delivery.lanes.connections_per_domain": 1,
    "delivery.lanes.first_connections": 1,
    "delivery.lanes.waiting_per_domain": 2,
    "delivery.watchdog_s": 1,
}
MESSAGES = 20
TAKEN = 3
"""Of these, what the lane takes: one attempt, and two that wait."""


def addresses(dest: Mx) -> list[str]:
    return [f"ann{number}@{dest.name.partition('.')[2]}" for number in range(MESSAGES)]


async def send(system: System, dest: Mx) -> None:
    """More mail for one domain than it takes."""
    async with system.relaying() as client:
        for address in addresses(dest):
            assert (await client.transact("me@home.test", [address], LETTER)).code == 250


async def test_parked_mail_is_taken_back_in_order(make_system: MakeSystem, mx: MakeMx) -> None:
    dest = await mx("parked.test", delays={"ann0": 3})  # meanwhile the lane is offered all that follows
    system = await make_system(TIGHT, delivery=0)
    await send(system, dest)
    await system.scale_delivery(1)
    await system.empty()
    assert [message.recipients for message in dest.messages] == [(address,) for address in addresses(dest)]
    assert await system.delivery[0].metric("jetpost_delivery_parked_total") == MESSAGES - TAKEN


async def test_parked_mail_of_a_killed_process_is_found_by_the_next(make_system: MakeSystem, mx: MakeMx) -> None:
    dest = await mx("orphaned.test", delays={"MAIL": 0.3})
    system = await make_system(TIGHT)
    await send(system, dest)
    await system.queued("parked")
    await system.delivery[0].restart()
    dest.script.delays.clear()
    await system.empty()
    assert {address for message in dest.messages for address in message.recipients} == set(addresses(dest))
