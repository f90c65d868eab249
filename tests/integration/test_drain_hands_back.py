"""SIGTERM: a delivery process finishes what it has begun, hands back the rest at once, and is gone in time."""

import asyncio
import signal

from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.eventually import eventually
from tests.fixtures.letters import LETTER


async def test_what_has_begun_is_finished_and_what_has_not_is_handed_back(make_system: MakeSystem, mx: MakeMx) -> None:
    # Only a hand-back brings entries to the second process within the test: ack_wait is far longer than it.
    system = await make_system(
        {"queue.ack_wait_s": 600, "delivery.lanes.first_connections": 1, "delivery.lanes.connections_per_site": 1},
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
    # What a leaving process hands back comes to its own open pull at most once or twice, not again and again.
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
