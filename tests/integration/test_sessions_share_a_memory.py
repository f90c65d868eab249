"""What all sessions hold in memory together is bounded: who holds much ends, the others are served."""

import pytest

from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.eventually import eventually, eventually_asked
from tests.fixtures.letters import LETTER
from tests.fixtures.process import Service
from tests.fixtures.system import System
from tests.integration.test_sessions_take_turns import PATIENT, attacked

pytestmark = pytest.mark.asyncio(loop_scope="session")

MIB = 1024 * 1024
SESSIONS = 300
MEMORY_BYTES = 16 * MIB
GROWTH_BYTES = 4 * MEMORY_BYTES
"""The bound itself, what Python needs for so many sessions, and what it does not give back at once."""
KEPT_BYTES = 24 * MIB
"""What the process may have more than before when all is over."""
BOUNDS = {
    **PATIENT,
    "ingress.limits.memory_bytes": MEMORY_BYTES,
    "ingress.limits.connections": 2 * SESSIONS,
    "ingress.limits.connections_per_client": SESSIONS,
}
ENVELOPE = b"EHLO x\r\nMAIL FROM:<a@home.test>\r\nRCPT TO:<a@ours.test>\r\n"
LONG_WISH = b" ORCPT=rfc822;" + b"x" * 400
HOLDS = {
    "replies never read": b"EHLO attacker.test\r\n" * 20_000,
    "contents": ENVELOPE + b"DATA\r\n" + (b"x" * 98 + b"\r\n") * 2500,
    "headers": ENVELOPE + b"DATA\r\n" + b"Subject: x\r\n" * 20_000,
    "recipients": ENVELOPE + b"".join(b"RCPT TO:<u%d@ours.test>%b\r\n" % (each, LONG_WISH) for each in range(900)),
    "bytes behind a message": ENVELOPE + b"DATA\r\n" + LETTER + b".\r\n" + b"NOOP\r\n" * 40_000,
}


async def held(service: Service) -> float:
    return await service.metric("jetpost_ingress_held_bytes")


@pytest.mark.parametrize("kind", HOLDS)
async def test_what_sessions_hold_is_bounded(make_system: MakeSystem, mx: MakeMx, kind: str) -> None:
    system = await make_system(BOUNDS)
    (ingress,) = system.ingress
    await mx("ours.test")
    await served(system)
    before = ingress.memory_peak_bytes()
    async with attacked(system, HOLDS[kind], count=SESSIONS) as attackers:
        for attacker in attackers:
            attacker.transport.pause_reading()
        for _ in range(5):
            await served(system)
        assert await held(ingress) <= MEMORY_BYTES
    assert ingress.memory_peak_bytes() - before < GROWTH_BYTES

    async def nothing_held() -> bool:
        return await held(ingress) == 0

    await eventually_asked(nothing_held, "what they held is given back")
    await eventually(lambda: ingress.memory_bytes() - before < KEPT_BYTES, "memory is given back to the system")


async def test_those_end_that_have_been_silent_longest(make_system: MakeSystem, mx: MakeMx) -> None:
    system = await make_system({**BOUNDS, "queue.inline_bytes": 4 * MIB})
    (ingress,) = system.ingress
    await mx("ours.test")
    content = (b"x" * 98 + b"\r\n") * (MIB // 100)

    async def holds(least: int) -> bool:
        return await held(ingress) >= least

    async with attacked(system, ENVELOPE + b"DATA\r\n" + content, count=10) as first:
        await eventually_asked(lambda: holds(9 * MIB), "the first ten hold much")
        async with system.relaying() as client:
            for line in ("MAIL FROM:<me@home.test>", "RCPT TO:<you@ours.test>", "DATA"):
                assert (await client.say(line)).is_positive
            await client.send(LETTER + content * 2)
            await eventually_asked(lambda: holds(11 * MIB), "a client has sent most of a message")
            async with attacked(system, ENVELOPE + b"DATA\r\n" + content, count=8):
                await eventually(lambda: sum(it.gone.is_set() for it in first) >= 2, "some of the first are sent away")
                await client.send(b".\r\n")
                assert (await client.reply()).code == 250
    assert await ingress.metric("jetpost_ingress_rejections_total", reason="memory") >= 2


async def served(system: System) -> None:
    async with system.relaying() as client:
        assert (await client.transact("me@home.test", ["you@ours.test"], LETTER)).code == 250
