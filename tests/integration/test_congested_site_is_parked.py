"""What a congested site cannot take yet waits in the queue, not in a process; and it is never forgotten there."""

import pytest

from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.letters import LETTER
from tests.fixtures.mx import Mx
from tests.fixtures.system import System

pytestmark = pytest.mark.asyncio(loop_scope="session")

TIGHT = {
    "delivery.lanes.connections_per_site": 1,
    "delivery.lanes.first_connections": 1,
    "delivery.lanes.waiting_per_site": 2,
    "delivery.watchdog_s": 1,
}
MESSAGES = 20


async def congested(system: System, dest: Mx) -> None:
    """More mail for one site than it takes, until some of it is parked."""
    async with system.relaying() as client:
        for number in range(MESSAGES):
            reply = await client.transact("me@home.test", [f"ann{number}@{dest.name.partition('.')[2]}"], LETTER)
            assert reply.code == 250
    await system.queued("parked")


async def all_arrived_once(dest: Mx, system: System) -> None:
    await system.empty()
    recipients = [address for message in dest.messages for address in message.recipients]
    assert len(recipients) == len(set(recipients)) == MESSAGES


async def test_parked_mail_is_taken_back_in_order(make_system: MakeSystem, mx: MakeMx) -> None:
    dest = await mx("parked.test", delays={"DOT": 0.1})
    system = await make_system(TIGHT)
    await congested(system, dest)
    await all_arrived_once(dest, system)
    assert await system.delivery[0].metric("jetpost_delivery_parked_total") > 0


async def test_parked_mail_of_a_killed_process_is_found_by_the_next(make_system: MakeSystem, mx: MakeMx) -> None:
    dest = await mx("orphaned.test", delays={"MAIL": 0.3})
    system = await make_system(TIGHT)
    await congested(system, dest)
    await system.delivery[0].restart()
    dest.script.delays.clear()
    await system.empty()
    arrived = {address for message in dest.messages for address in message.recipients}
    assert len(arrived) == MESSAGES
