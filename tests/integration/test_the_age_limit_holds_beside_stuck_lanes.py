"""A lane that is stuck cannot enforce an age limit; the watchdog does, in memory and in the queue."""

import time

from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.eventually import eventually
from tests.fixtures.letters import LETTER

ONE_AT_A_TIME = {
    "queue.lifetime_s": 2,
    "delivery.watchdog_s": 0.5,
    "delivery.drain_s": 0,
    "delivery.lanes.first_connections": 1,
    "delivery.lanes.connections_per_domain": 1,
}


async def test_what_waits_behind_an_attempt_that_never_ends_expires(make_system: MakeSystem, mx: MakeMx) -> None:
    system = await make_system(ONE_AT_A_TIME)
    (service,) = system.delivery
    dest, home = await mx("endless-slot.test", delays={"DOT": 3600.0}), await mx("home-of-endless.test")
    async with system.submitting() as client:
        await client.transact("me@home-of-endless.test", ["first@endless-slot.test"], LETTER)
        await eventually(lambda: dest.heard["DATA"], "the first attempt is under way")
        await client.transact("me@home-of-endless.test", ["second@endless-slot.test"], LETTER)

    dsn = await home.received("me@home-of-endless.test")

    assert dsn.delivery_status("second@endless-slot.test")["Status"] == "4.4.7"
    assert await service.metric("jetpost_delivery_watchdog_expired_total") == 1
    assert dest.open  # the first one is still under way
    assert dest.heard["DATA"] == 1


async def test_parked_entries_that_nobody_took_back_in_time_expire_in_the_queue(
    make_system: MakeSystem, mx: MakeMx
) -> None:
    system = await make_system(
        {
            **ONE_AT_A_TIME,
            "delivery.overdue_s": 0,
            "delivery.attempt.timeouts.block_s": 0.1,
            "delivery.lanes.waiting_per_domain": 0,
        }
    )
    (service,) = system.delivery
    dest, home = await mx("forgotten.test", delays={"DOT": 3600.0}), await mx("home-of-forgotten.test")
    async with system.submitting() as client:
        await client.transact("me@home-of-forgotten.test", ["first@forgotten.test"], LETTER)
        await eventually(lambda: dest.heard["DATA"], "the first attempt is under way")
        for user in ("second", "third"):
            await client.transact("me@home-of-forgotten.test", [f"{user}@forgotten.test"], LETTER)
    await system.queued("parked", 2)
    await service.stop()
    overdue = time.monotonic() + 3
    await eventually(lambda: time.monotonic() > overdue, "the parked entries are overdue")

    await service.start()

    await home.received_all(2)
    assert await service.metric("jetpost_delivery_watchdog_expired_total") == 2
    assert dest.heard["DATA"] <= 2  # of the first one, again after the restart
