"""SIGTERM: a delivery process finishes what it has begun, returns the rest at once, and is gone in time."""

import asyncio
import signal

from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.eventually import eventually, eventually_asked
from tests.fixtures.letters import LETTER


async def test_what_has_begun_is_finished_and_what_has_not_is_returned(make_system: MakeSystem, mx: MakeMx) -> None:
    # Only a NAK brings entries to the second process within the test: ack_wait is far longer than it.
    system = await make_system(
        {"queue.ack_wait_s": 600, "delivery.lanes.first_connections": 1, "delivery.lanes.connections_per_domain": 1},
        delivery=1,
    )
    (service,) = system.delivery
    dest = await mx("draining.test", delays={"DOT": 1.0})
    async with system.submitting() as client:
        for number in range(10):
            await client.transact("ann@home.test", [f"u{number}@draining.test"], LETTER)
    await eventually(lambda: dest.heard["DATA"], "the first attempt is under way")

    service.signal(signal.SIGTERM)
    assert await service.gone() == 0
    begun = dest.heard["DATA"]
    assert begun <= 2
    assert len(dest.messages) == begun
    dest.script.delays.clear()
    await service.start()

    await dest.received_all(10)
    await system.empty()
    assert len(dest.messages) == 10


async def test_a_process_that_cannot_finish_in_time_ends_all_the_same(make_system: MakeSystem, mx: MakeMx) -> None:
    system = await make_system({"delivery.drain_s": 0.5})
    (service,) = system.delivery
    dest = await mx("endless.test", delays={"DOT": 3600.0})
    await system.submit("ann@home.test", ["bob@endless.test"], LETTER)
    await eventually(lambda: dest.heard["DATA"], "the attempt is under way")

    service.signal(signal.SIGTERM)

    async with asyncio.timeout(10):
        assert await service.gone() == 0
    dest.script.delays.clear()
    await service.start()
    await dest.received("bob@endless.test")
    # What a leaving process returns comes to its own open pull at most once or twice, not again and again.
    assert await service.metric("jetpost_delivery_quarantined_total") == 0


async def test_a_process_ends_in_time_though_the_queue_does_not_answer(make_system: MakeSystem, mx: MakeMx) -> None:
    system = await make_system(
        {
            "queue.lifetime_s": 2,
            "delivery.drain_s": 1,
            "delivery.watchdog_s": 0.5,
            "delivery.lanes.first_connections": 1,
            "delivery.lanes.connections_per_domain": 1,
        }
    )
    (service,), (server,) = system.delivery, system.servers
    dest, home = await mx("stuck.test", delays={"DOT": 3600.0}), await mx("home-of-stuck.test")
    async with system.submitting() as client:
        for user in ("ann", "bob"):
            await client.transact("me@home-of-stuck.test", [f"{user}@stuck.test"], LETTER)

    async def one_waits() -> bool:
        return await service.metric("jetpost_delivery_waiting") == 1

    await eventually(lambda: dest.heard["DATA"], "one is attempted")
    await eventually_asked(one_waits, "the other one waits")
    server.signal(signal.SIGSTOP)
    try:
        await system.told(
            service, "cannot move entry"
        )  # the watchdog, which waits for the queue to take the expired entry
        service.signal(signal.SIGTERM)
        assert await service.gone() == 0
    finally:
        server.signal(signal.SIGCONT)

    dest.script.delays.clear()
    await service.start()
    await system.empty()
    assert len(dest.messages) + len(home.messages) == 2  # each delivered late, or reported


async def test_rolling_updates_never_quarantine_an_entry(make_system: MakeSystem, mx: MakeMx) -> None:
    system = await make_system(
        {
            "queue.quarantine_after": 3,
            "queue.ack_wait_s": 600,
            "delivery.drain_s": 0,
            "delivery.lanes.first_connections": 1,
            "delivery.lanes.connections_per_domain": 1,
        }
    )
    (service,) = system.delivery
    dest = await mx("rolled.test", delays={"DOT": 3600.0})
    async with system.submitting() as client:
        for user in ("ann", "bob"):
            await client.transact("me@home.test", [f"{user}@rolled.test"], LETTER)

    async def both_are_claimed() -> bool:
        return (
            await service.metric("jetpost_queue_claims") == 2 and await service.metric("jetpost_delivery_active") == 1
        )

    for _ in range(4):
        await eventually_asked(both_are_claimed, "one is attempted, the other one waits")
        await service.stop()
        await service.start()

    await eventually_asked(both_are_claimed, "one is attempted, the other one waits")
    await service.stop()
    dest.script.delays.clear()
    await service.start()
    await dest.received("ann@rolled.test")
    await dest.received("bob@rolled.test")
    assert await service.metric("jetpost_delivery_quarantined_total") == 0


async def test_an_ingress_process_lets_open_sessions_end(make_system: MakeSystem, mx: MakeMx) -> None:
    system = await make_system()
    (service,) = system.ingress
    dest = await mx("last-word.test")

    async with system.submitting() as client:
        await client.say("MAIL FROM:<ann@home.test>")
        await client.say("RCPT TO:<bob@last-word.test>")
        assert (await client.say("DATA")).code == 354
        service.signal(signal.SIGTERM)
        await client.send(LETTER + b".\r\n")
        assert (await client.reply()).code == 250

    assert await service.gone() == 0
    await dest.received("bob@last-word.test")
    await service.start()
