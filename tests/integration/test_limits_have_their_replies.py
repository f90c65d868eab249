"""Every limit of ingress, and what a client hears beyond it."""

import asyncio
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from jetpost.mail.reply import Reply
from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.client import RawClient, dialled
from tests.fixtures.letters import LETTER
from tests.fixtures.system import System

LIMITS = {
    "ingress.limits.message_bytes": 70_000,
    "ingress.limits.recipients": 100,
    "ingress.limits.text_line_bytes": 1000,
    "ingress.limits.connections": 8,
    "ingress.limits.connections_per_client": 4,
    "ingress.limits.command_errors": 10,
    "ingress.limits.auth_failures": 2,
    "ingress.limits.idle_s": 1,
}


@pytest_asyncio.fixture(loop_scope="session")
async def limited(make_system: MakeSystem) -> System:
    return await make_system(LIMITS)


def _told(reply: Reply) -> tuple[int, str]:
    return reply.code, str(reply.status)


async def test_limits_of_a_message(limited: System, mx: MakeMx) -> None:
    await mx("limits.test")
    async with limited.relaying() as client:
        assert _told(await client.say("MAIL FROM:<ann@home.test> SIZE=70001")) == (552, "5.3.4")
        to = ["bob@limits.test"]
        for content, told in (
            (LETTER + b"x" * 78 + b"\r\n" + (b"x" * 78 + b"\r\n") * 900, (552, "5.3.4")),
            (LETTER + b"x" * 999 + b"\r\n", (550, "5.6.0")),
            (LETTER + b"nul \0\r\n", (550, "5.6.0")),
            (b"Received: from a by b\r\n" * 101 + LETTER, (554, "5.4.6")),
        ):
            assert _told(await client.transact("ann@home.test", to, content)) == told
        assert (await client.transact("ann@home.test", to, LETTER)).code == 250
    refused = [line for line in limited.ingress[0].log_lines() if line["event"] == "refused" and line["verb"] == "DATA"]
    assert [line["reason"] for line in refused] == ["size", "line", "nul", "loop"]
    assert len({line["queue_id"] for line in refused} - {""}) == len(refused)


async def test_the_hundred_and_first_recipient_waits_for_another_transaction(limited: System, mx: MakeMx) -> None:
    dest = await mx("many.test")
    async with limited.relaying() as client:
        await client.say("MAIL FROM:<ann@home.test>")
        for number in range(100):
            assert (await client.say(f"RCPT TO:<u{number}@many.test>")).code == 250
        assert _told(await client.say("RCPT TO:<u100@many.test>")) == (452, "4.5.3")
        assert (await client.say("DATA")).code == 354
        await client.send(LETTER + b".\r\n")
        assert (await client.reply()).code == 250
    assert len((await dest.received("u0@many.test")).recipients) == 100


async def test_limits_of_a_session(limited: System) -> None:
    async with limited.relaying() as client:
        assert _told(await client.say("NOOP " + "x" * 3000)) == (500, "5.5.2")
        for _ in range(9):
            assert _told(await client.say("WHAT")) == (500, "5.5.2")
        assert _told(await client.say("WHAT")) == (421, "4.7.0")
        assert await client.is_closed()


async def test_failed_authentications_are_counted(limited: System) -> None:
    context = limited.surroundings.certificates.client()
    async with dialled("127.0.0.1", limited.ports.submissions, context) as client:
        await client.say("EHLO client.test")
        assert (await client.authenticate("ann", "wrong")).code == 535
        assert (await client.authenticate("ann", "wrong")).code in (421, 535)
        assert await client.is_closed()


async def test_who_says_nothing_is_sent_away(limited: System) -> None:
    async with limited.relaying() as client:
        assert _told(await client.reply()) == (421, "4.4.2")
        assert await client.is_closed()
    assert await limited.ingress[0].metric("jetpost_ingress_rejections_total", reason="timeout") == 1


@pytest.mark.parametrize("chatter", ["NOOP", ""])
async def test_a_session_has_an_end_whatever_the_client_does(make_system: MakeSystem, chatter: str) -> None:
    patient = await make_system({"ingress.limits.session_s": 1, "ingress.limits.idle_s": 3600})
    async with patient.relaying() as client:
        while chatter and (reply := await client.say(chatter)).code == 250:
            await asyncio.sleep(0.05)
        if not chatter:
            reply = await client.reply()
        assert _told(reply) == (421, "4.4.2")
        assert await client.is_closed()


async def test_connections_are_counted_by_client_and_in_all(limited: System) -> None:
    async with AsyncExitStack() as open_ones:
        for source in ("127.0.0.10", "127.0.0.20"):
            for _ in range(4):
                await open_ones.enter_async_context(limited.relaying(source=source))
            if source == "127.0.0.10":
                assert _told(await _greeting(limited, source)) == (421, "4.7.0")
        assert _told(await _greeting(limited, "127.0.0.30")) == (421, "4.3.2")
    assert (await _greeting(limited, "127.0.0.30")).code in (220, 421)


async def _greeting(system: System, source: str) -> Reply:
    client = await RawClient.connect("127.0.0.1", system.ports.relay, source=source)
    try:
        return await client.reply()
    finally:
        await client.aclose()
