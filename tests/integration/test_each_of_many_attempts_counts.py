"""Attempts at one domain run at the same time, and what each of them finds out counts."""

from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.eventually import eventually
from tests.fixtures.letters import LETTER
from tests.fixtures.mx_script import SILENCE

AT_A_TIME = 12
FAILURES = 3
LANES = {
    "delivery.lanes.first_connections": AT_A_TIME,
    "delivery.lanes.connections_per_domain": AT_A_TIME,
    "delivery.lanes.failures_to_suspend": FAILURES,
    "delivery.lanes.suspend_s": 3600,
    "delivery.retry.first_s": 3600,
    "delivery.retry.cap_s": 3600,
}


async def test_a_domain_that_dies_gets_no_attempt_beside_those_under_way(make_system: MakeSystem, mx: MakeMx) -> None:
    dest = await mx("dies.test", replies={"CONNECT": SILENCE})
    system = await make_system(LANES)
    (delivery,) = system.delivery
    async with system.submitting() as client:
        for number in range(5 * AT_A_TIME):
            await client.transact("me@home.test", [f"late{number}@dies.test"], LETTER)
    await eventually(lambda: dest.connections == AT_A_TIME, "as many attempts as allowed are under way")
    for connection in list(dest.open):
        connection.abort()

    await system.queued("retry", 5 * AT_A_TIME)
    assert dest.connections == AT_A_TIME
    assert await delivery.metric("jetpost_delivery_suspensions_total") == 1
