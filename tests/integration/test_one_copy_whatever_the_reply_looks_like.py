"""A host that took a message has it once, however its reply looks; lines that are no reply are skipped everywhere."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import pytest

from delivery.attempt.config import AttemptSettings
from delivery.connect.pool import Pool
from delivery.connect.timeouts import Timeouts
from jetpost.mail.content import Inline
from jetpost.mail.outcome import Bounced, Deferred, Delivered
from tests.conftest import MakeSystem
from tests.fixtures.addresses import loopback_address
from tests.fixtures.attempts import BOB, entry, on_uvloop, tried, tried_with
from tests.fixtures.configuration import Surroundings
from tests.fixtures.eventually import eventually, eventually_asked
from tests.fixtures.letters import LETTER
from tests.fixtures.raw_host import Act, Dialogue, RawHost, flooding, leaving, saying, silent
from tests.fixtures.zone import ServedZone

JUNK = b"\r\nhello there\r\n2026-11-26 22:00 queued\r\n127.0.0.1 said\r\n\0\xff\xfe\r\n"
AT_THE_DOT: dict[str, Act] = {
    "an empty line first": saying(b"\r\n250 ok\r\n"),
    "a text without a code first": saying(b"hello there\r\n250 ok\r\n"),
    "all kinds of junk first": saying(JUNK + b"250 ok\r\n"),
    "junk in packets of its own": saying(*JUNK.splitlines(keepends=True), b"250 ok\r\n"),
    "a hundred kB of junk first": saying(b"hello there\r\n" * 8000 + b"250 ok\r\n"),
    "a junk line of a hundred kB first": saying(b"x" * 100_000 + b"\r\n250 ok\r\n"),
    "one line of 70 kB": saying(b"250 " + b"x" * 70_000 + b"\r\n"),
    "many lines, 70 kB": saying(b"250-" + b"x" * 66 + b"\r\n", *[b"250-" + b"x" * 66 + b"\r\n"] * 1000, b"250 x\r\n"),
    "the code alone": saying(b"250\r\n"),
    "a code and a space": saying(b"250 \r\n"),
    "a tab": saying(b"250\tok\r\n"),
    "no space": saying(b"250ok\r\n"),
    "a bare LF": saying(b"250 ok\n"),
    "a bare LF, several lines": saying(b"250-ok\n250 ok\n"),
    "CR CR LF": saying(b"250 ok\r\r\n"),
    "NULs": saying(b"\0\x00250 o\0k\0\r\n"),
    "eight bits": saying(b"250 \xe9\xff\xfe ok\r\n"),
    "a byte order mark": saying(b"\xef\xbb\xbf250 ok\r\n"),
    "leading spaces": saying(b"  250 ok\r\n"),
    "other codes first": saying(b"250-ok\r\n550-no\r\n250 ok\r\n"),
    "a refusal first": saying(b"451-checking\r\n250 ok\r\n"),
    "a nonsense code first": saying(b"999 what\r\n100 wait\r\n250 ok\r\n"),
    "junk between the lines": saying(b"250-ok\r\nhello\r\n250 ok\r\n"),
    "another 2yz": saying(b"200 ok\r\n"),
    "a byte at a time": saying(*(bytes([byte]) for byte in b"hello\r\n250-ok\r\n250 ok\r\n")),
    "an empty line behind": saying(b"250 ok\r\n\r\n"),
    "junk behind": saying(b"250 ok\r\n" + JUNK),
    "a second reply behind": saying(b"250 ok\r\n250 again\r\n"),
    "a refusal behind": saying(b"250 ok\r\n550 no\r\n"),
    "no end of the line, then the end": leaving(b"250 ok"),
    "the code, then the end": leaving(b"250"),
    "half a reply, then the end": leaving(b"250-ok\r\n"),
    "a reply, then the end": leaving(b"250 ok\r\n"),
    "a reply, then a reset": leaving(b"250 ok\r\n", reset=True),
    "junk and a reply, then a reset": leaving(JUNK + b"250 ok\r\n", reset=True),
    "421 behind": leaving(b"250 ok\r\n421 bye\r\n"),
    "lines without end": flooding(b"250-ok\r\n"),
    "a line without end": flooding(b"x", first=b"250 "),
    "a reply, then a flood": flooding(b"250 ok\r\n"),
}
BEFORE: dict[str, dict[str, bytes]] = {
    "junk before the greeting": {"CONNECT": JUNK + b"220 hi\r\n"},
    "junk before the extensions": {"EHLO": JUNK + b"250-hi\r\n" + JUNK + b"250 PIPELINING\r\n"},
    "junk before each reply": {
        "MAIL": JUNK + b"250 ok\r\n",
        "RCPT": b"\r\n250ok\r\n",
        "DATA": JUNK + b"354 go\r\n",
        "DOT": JUNK + b"250 ok\r\n",
    },
    "junk behind each reply": {
        "CONNECT": b"220 hi\r\n" + JUNK,
        "EHLO": b"250 hi\r\n" + JUNK,
        "MAIL": b"250 ok\r\n" + JUNK,
        "RCPT": b"250 ok\r\n\r\n",
        "DATA": b"354 go\r\n\r\n",
    },
    "replies of 70 kB": {
        "CONNECT": b"220 " + b"x" * 70_000 + b"\r\n",
        "EHLO": b"250-" + b"x" * 70_000 + b"\r\n250 SIZE " + b"9" * 70_000 + b"\r\n",
        "MAIL": b"250 " + b"x" * 70_000 + b"\r\n",
        "DATA": b"354 " + b"x" * 70_000 + b"\r\n",
    },
    "odd digits": {"EHLO": "250-hi\r\n250-SIZE ²\r\n250 PIPELINING\r\n".encode()},
    "bare LFs": dict.fromkeys(("EHLO", "MAIL", "RCPT", "DOT"), b"250 ok\n"),
}


@asynccontextmanager
async def hosts_of(
    names: ServedZone, around: Surroundings, scripts: dict[str, tuple[dict[str, bytes], dict[str, Act]]]
) -> AsyncIterator[dict[str, RawHost]]:
    """A host for each script, published as the MX of `<number>.<first word>.test`; by that domain."""
    async with AsyncExitStack() as running:
        hosts: dict[str, RawHost] = {}
        for number, (says, does) in enumerate(scripts.values()):
            domain = f"case{number}-of-{len(scripts)}.test"
            host = RawHost(f"mx.{domain}", loopback_address(), around.mx_port, says=says, does=does)
            hosts[domain] = await running.enter_async_context(host)
            names.add(host.name, a=[host.address])
            names.add(domain, mx=[(10, host.name)])
        yield hosts


async def test_who_took_a_message_gets_it_once(
    make_system: MakeSystem, names: ServedZone, surroundings: Surroundings
) -> None:
    scripts: dict[str, tuple[dict[str, bytes], dict[str, Act]]] = {
        **{case: ({}, {"DOT": act}) for case, act in AT_THE_DOT.items()},
        **{case: (says, {}) for case, says in BEFORE.items()},
    }
    system = await make_system({"delivery.retry.first_s": 0.1, "delivery.attempt.timeouts.quit_s": 0.2})
    async with hosts_of(names, surroundings, scripts) as hosts:
        async with system.submitting() as client:
            for domain in hosts:
                await client.transact("ann@home.test", [f"bob@{domain}"], LETTER)
        (service,) = system.delivery

        async def has_three() -> bool:
            told = [line for line in service.log_lines() if line["event"] in ("delivered", "deferred", "bounced")]
            return len({line["recipient"] for line in told}) == len(hosts)

        await eventually_asked(has_three, "each message was attempted")
        # What was wrongly deferred comes again within moments.
        await system.empty()

    copies = {case: len(host.copies) for case, host in zip(scripts, hosts.values(), strict=True)}
    assert copies == dict.fromkeys(scripts, 1)
    told = [line["event"] for line in service.log_lines() if line.get("recipient", "").startswith("bob@case")]
    assert told == ["delivered"] * len(hosts)


@pytest.mark.parametrize(
    ("says", "then", "outcome"),
    [
        (b"550 no\r\n", None, Bounced),
        (JUNK + b"550no\n", None, Bounced),
        (b"550 no", "leaves", Bounced),
        (b"550-no\r\n", "leaves", Bounced),
        (b"250-ok\r\n550 no\r\n", None, Bounced),
        (b"451 later", "leaves", Deferred),
        (b"354 go on\r\n", None, Deferred),
        # In doubt: SMTP's own gap (RFC 5321, 6.1).
        (JUNK, "leaves", Deferred),
        (b"25", "leaves", Deferred),
        (b"", "leaves", Deferred),
        (b"2500 ok\r\n", "leaves", Deferred),
        (b"999 ok\r\n", "leaves", Deferred),
        # The time is up.
        (b"250 ok", "is silent", Delivered),
        (b"250-ok\r\n", "is silent", Delivered),
        (JUNK, "is silent", Deferred),
    ],
)
def test_what_the_reply_to_the_final_dot_comes_to(says: bytes, then: str | None, outcome: type) -> None:
    async def at_the_dot(dialogue: Dialogue) -> None:
        await saying(says)(dialogue)
        await (leaving() if then == "leaves" else silent)(dialogue)

    async def run() -> None:
        timeouts = Timeouts.model_construct(final_dot_s=0.3)
        settings = AttemptSettings.model_construct(timeouts=timeouts)
        async with RawHost("mx.test", does={"DOT": at_the_dot if then else saying(says)}) as host:
            made = await tried([host], entry(Inline(LETTER)), settings)
        assert isinstance(made.outcomes[BOB], outcome)
        assert len(host.copies) == 1

    on_uvloop(run())


@pytest.mark.parametrize("behind", [b"\r\n", b"x", b"250 again\r\n", JUNK, b"421 bye\r\n"])
@pytest.mark.parametrize("later", [False, True])
def test_a_connection_with_something_left_over_is_not_used_again(behind: bytes, *, later: bool) -> None:
    async def run() -> None:
        act = saying(b"250 ok\r\n", behind) if later else saying(b"250 ok\r\n" + behind)
        pool = Pool(AttemptSettings(idle_s=60), "jetpost.test", most=10)
        async with RawHost("mx.test", does={"DOT": act}) as host:
            for number in (1, 2):
                made = await tried_with(pool, [host], entry(Inline(LETTER)))
                assert isinstance(made.outcomes[BOB], Delivered)
                await eventually(partial(are_over, host, number), "the connection is given up")
            assert host.connections == 2
            await pool.aclose()

    on_uvloop(run())


def are_over(host: RawHost, connections: int) -> bool:
    """Whether the other side has left so many connections."""
    return host.over >= connections


def test_a_reply_that_nobody_asked_for_is_not_taken_for_the_next() -> None:
    async def run() -> None:
        async with (
            RawHost("mx1.test", says={"MAIL": b"250 ok\r\n250 ok\r\n"}, extensions=()) as first,
            RawHost("mx2.test") as second,
        ):
            made = await tried([first, second], entry(Inline(LETTER)), AttemptSettings())
        assert isinstance(made.outcomes[BOB], Delivered)
        assert not first.copies
        assert len(second.copies) == 1

    on_uvloop(run())
