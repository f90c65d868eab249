"""Whatever some clients send, and however much of it: the others are served, and who leads nowhere is sent away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.client import RawClient, dialled
from tests.fixtures.eventually import eventually_asked
from tests.fixtures.letters import LETTER
from tests.fixtures.system import System

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATIENT = {"ingress.limits.commands_without_message": 10**9, "ingress.limits.command_errors": 10**9}
ATTACKERS = 20
BLOCK_BYTES = 200_000
BEGUN = b"EHLO x\r\nMAIL FROM:<a@home.test>\r\n"
FLOODS = {
    "NOOP": (b"", b"NOOP\r\n"),
    "EHLO": (b"", b"EHLO attacker.test\r\n"),
    "RCPT": (BEGUN, b"RCPT TO:<nobody@elsewhere.test>\r\n"),
    "unknown": (b"", b"WHAT\r\n"),
    "empty": (b"", b"\r\n"),
    "MAIL": (b"EHLO x\r\n", b"MAIL FROM:<a@home.test>\r\nRSET\r\n"),
    "names": (BEGUN.replace(b">\r", b"> SMTPUTF8\r"), "RCPT TO:<a@müller.büro.grün.test>\r\n".encode()),
}
LEADS_NOWHERE = {
    **{name: flood[1] for name, flood in FLOODS.items()},
    **{line: line.encode() + b"\r\n" for line in ("RSET", "HELP", "VRFY x", "EXPN x", "HELO x", "QUIT x", "DATA")},
    "STARTTLS": b"STARTTLS x\r\n",
    "AUTH": b"AUTH PLAIN\r\n*\r\n",
    "given up": BEGUN + b"RCPT TO:<a@ours.test>\r\n" * 200,
}


class Attacker(asyncio.Protocol):
    """Sends bytes and reads, and knows how much it was answered."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.lines = 0
        self.gone = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self.data)

    def data_received(self, data: bytes) -> None:
        self.lines += data.count(b"\r\n")

    def connection_lost(self, _: Exception | None) -> None:
        self.gone.set()


@asynccontextmanager
async def attacked(system: System, data: bytes, count: int = ATTACKERS) -> AsyncIterator[list[Attacker]]:
    """`count` clients that no network listens to, each with `bytes` to say."""
    connecting = (
        asyncio.get_running_loop().create_connection(
            lambda: Attacker(data), "127.0.0.1", system.ports.relay, local_addr=("127.0.0.9", 0)
        )
        for _ in range(count)
    )
    attackers = [protocol for _, protocol in await asyncio.gather(*connecting)]
    try:
        yield attackers
    finally:
        for attacker in attackers:
            attacker.transport.abort()


@pytest.mark.parametrize("flood", FLOODS)
async def test_an_honest_message_waits_for_nobodys_flood(make_system: MakeSystem, mx: MakeMx, flood: str) -> None:
    opening, repeated = FLOODS[flood]
    system = await make_system(PATIENT)
    await mx("ours.test")
    times = BLOCK_BYTES // len(repeated)
    async with attacked(system, opening + repeated * times) as attackers:
        async with system.relaying() as client:
            assert (await client.transact("me@home.test", ["you@ours.test"], LETTER)).code == 250
        answered = sum(attacker.lines for attacker in attackers)
    assert answered < ATTACKERS * times * repeated.count(b"\r\n") / 4


@pytest.mark.parametrize("line", LEADS_NOWHERE)
async def test_what_leads_nowhere_has_an_end(system: System, line: str) -> None:
    for port in (system.ports.relay, system.ports.submission):
        client = await RawClient.connect("127.0.0.1", port, source="127.0.0.8")
        try:
            await client.send(b"EHLO x\r\n" + LEADS_NOWHERE[line] * 2500)
            said = await client.rest()
            assert said.endswith(b"\r\n")
            assert said.count(b"\r\n421 4.7.0 Too many ") == 1
        except ConnectionError:
            pass  # it was closed while more was being sent, and the last words went with it
        finally:
            await client.aclose()


async def test_recipients_beyond_the_limit_have_an_end(system: System) -> None:
    async with dialled("127.0.0.1", system.ports.relay) as client:
        await client.send(b"EHLO x\r\nMAIL FROM:<a@home.test>\r\n" + b"RCPT TO:<a@dest.test>\r\n" * 5000)
        codes: list[int] = []
        while not codes or codes[-1] != 421:
            codes.append((await client.reply()).code)
    assert codes.count(452) > 1000
    assert await system.ingress[0].metric("jetpost_ingress_rejections_total", reason="commands") >= 1


async def test_an_accepted_message_begins_the_count_again(make_system: MakeSystem, mx: MakeMx) -> None:
    system = await make_system({"ingress.limits.commands_without_message": 20})
    await mx("ours.test")
    async with system.relaying() as client:
        for _ in range(10):
            for line in ("NOOP", "RSET", "NOOP", "VRFY x", "NOOP"):
                assert (await client.say(line)).is_positive
            assert (await client.transact("me@home.test", ["you@ours.test"], LETTER)).code == 250
        replies = [(await client.say("NOOP")).code for _ in range(20)]
        assert replies == [250] * 20
        assert (await client.reply()).code == 421
        assert await client.is_closed()


async def test_a_client_that_says_all_at_once_hears_every_reply(system: System, mx: MakeMx) -> None:
    """More than a turn, then the end of what it has to say: nothing of it is lost."""
    dest = await mx("burst.test")
    recipients = [f"u{number}@burst.test" for number in range(90)]
    async with dialled("127.0.0.1", system.ports.relay) as client:
        commands = ["EHLO x", "MAIL FROM:<me@home.test>", *(f"RCPT TO:<{each}>" for each in recipients), "DATA"]
        await client.send("".join(f"{line}\r\n" for line in commands).encode())
        assert [(await client.reply()).code for _ in commands] == [250] * 92 + [354]
        await client.send(LETTER + b".\r\n" + b"NOOP\r\n" * 60 + b"QUIT\r\n")
        client.say_no_more()
        assert [(await client.reply()).code for _ in range(62)] == [250] * 61 + [221]
        assert await client.is_closed()
    assert len((await dest.received(recipients[0])).recipients) == 90


@pytest.mark.parametrize("ends", [False, True])
async def test_who_reads_no_reply_is_answered_no_more_and_sent_away(make_system: MakeSystem, *, ends: bool) -> None:
    system = await make_system({**PATIENT, "ingress.limits.idle_s": 1})

    async def all_gone() -> bool:
        return await system.ingress[0].metric("jetpost_ingress_connections") == 0

    async with attacked(system, b"EHLO attacker.test\r\n" * 100_000, count=10) as attackers:
        for attacker in attackers:
            attacker.transport.pause_reading()
            if ends:
                attacker.transport.write_eof()
        await eventually_asked(all_gone, "they are sent away")
    assert await system.ingress[0].metric("jetpost_ingress_rejections_total", reason="timeout") == 10
