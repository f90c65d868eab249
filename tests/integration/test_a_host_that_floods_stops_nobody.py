"""A host that sends without end, at whatever moment: the others get their mail, and memory stays what it is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from delivery.attempt.config import AttemptSettings
from delivery.connect.pool import Pool
from delivery.connect.timeouts import Timeouts
from jetpost.mail.content import Inline
from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.addresses import loopback_address
from tests.fixtures.attempts import entry, on_uvloop, tried_with
from tests.fixtures.certificates import Certificates
from tests.fixtures.configuration import Surroundings
from tests.fixtures.eventually import PATIENCE_S, eventually, eventually_asked
from tests.fixtures.letters import LETTER
from tests.fixtures.raw_host import Act, Dialogue, RawHost, flooding, silent
from tests.fixtures.zone import ServedZone

MEGABYTE = 1024 * 1024
OK = b"250 ok\r\n"
is_idle = asyncio.Event()
"""Set once every connection that was kept is idle."""


def flooding_idle(data: bytes) -> Act:
    """Take the message, and begin when the connection is idle."""

    async def act(dialogue: Dialogue) -> None:
        await dialogue.say(OK)
        await is_idle.wait()
        await flooding(data)(dialogue)

    return act


FLOODS: dict[str, dict[str, Act]] = {
    "replies before the greeting": {"CONNECT": flooding(b"220 hi\r\n")},
    "continued lines before the greeting": {"CONNECT": flooding(b"220-hi\r\n")},
    "empty lines before the greeting": {"CONNECT": flooding(b"\n")},
    "a greeting without end": {"CONNECT": flooding(b"x", first=b"220 ")},
    "continued lines at EHLO": {"EHLO": flooding(b"250-a\r\n")},
    "extensions at EHLO": {"EHLO": flooding(b"250-PIPELINING\r\n250-SIZE 1000000\r\n")},
    "replies after EHLO": {"EHLO": flooding(OK, first=b"250 hi\r\n")},
    "replies at MAIL": {"MAIL": flooding(OK)},
    "texts at MAIL": {"MAIL": flooding(b"hello\r\n")},
    "refusals at RCPT": {"RCPT": flooding(b"550-no\r\n")},
    "replies after DATA": {"CONTENT": flooding(OK)},
    "empty lines after DATA": {"CONTENT": flooding(b"\n")},
    "continued lines at the dot": {"DOT": flooding(b"250-ok\r\n")},
    "empty lines at the dot": {"DOT": flooding(b"\n")},
    "a reply without end at the dot": {"DOT": flooding(b"x", first=b"250 ")},
    "replies without end at the dot": {"DOT": flooding(OK)},
    "replies while idle": {"DOT": flooding_idle(OK)},
    "codes while idle": {"DOT": flooding_idle(b"250\r\n")},
    "short lines while idle": {"DOT": flooding_idle(b"\n")},
    "texts while idle": {"DOT": flooding_idle(b"x" * 1000 + b"\r\n")},
    "421 while idle": {"DOT": flooding_idle(b"421 bye\r\n")},
    "garbage in the handshake": {"STARTTLS": flooding(b"x", first=b"220 go\r\n")},
    "empty records in the handshake": {"STARTTLS": flooding(bytes.fromhex("1603030000"), first=b"220 go\r\n")},
    "continued lines inside TLS": {"TLS EHLO": flooding(b"250-a\r\n")},
    "replies inside TLS while idle": {"TLS DOT": flooding_idle(OK)},
    "short lines inside TLS while idle": {"TLS DOT": flooding_idle(b"\n")},
}

WITHOUT_TLS = {"garbage in the handshake", "empty records in the handshake", "continued lines inside TLS"}
"""They get the message on another connection, which does not flood."""


@asynccontextmanager
async def serving(
    names: ServedZone, around: Surroundings, certificates: Certificates, floods: dict[str, dict[str, Act]]
) -> AsyncIterator[dict[str, RawHost]]:
    """A host for each, by its domain."""
    async with AsyncExitStack() as running:
        hosts: dict[str, RawHost] = {}
        for number, does in enumerate(floods.values()):
            domain, address = f"flood{number}-of-{len(floods)}.test", loopback_address()
            secure = any(moment.startswith(("TLS", "STARTTLS")) for moment in does)
            tls = certificates.server() if secure else None
            host = RawHost(f"mx.{domain}", address, around.mx_port, does=does, tls=tls, reads_ahead=64 * 1024)
            hosts[domain] = await running.enter_async_context(host)
            names.add(host.name, a=[address])
            names.add(domain, mx=[(10, host.name)])
        yield hosts


async def test_a_host_that_floods_stops_nobody(
    make_system: MakeSystem, mx: MakeMx, names: ServedZone, surroundings: Surroundings, certificates: Certificates
) -> None:
    system = await make_system(
        {
            "delivery.attempt.idle_s": 600,
            "delivery.attempt.timeouts.quit_s": 0.2,
            "delivery.retry.first_s": 600,
            "delivery.retry.cap_s": 600,
        }
    )
    (service,) = system.delivery
    healthy = await mx("healthy-beside-floods.test")
    async with (
        serving(names, surroundings, certificates, FLOODS) as hosts,
        system.submitting() as client,
    ):
        await client.transact("me@home.test", ["first@healthy-beside-floods.test"], LETTER)
        await healthy.received("first@healthy-beside-floods.test")
        before = service.memory_peak_bytes()
        for number, domain in enumerate(hosts):
            await client.transact("me@home.test", [f"bob@{domain}"], LETTER)
            await client.transact("me@home.test", [f"u{number}@healthy-beside-floods.test"], LETTER)
        await healthy.received_all(len(hosts) + 1)

        async def is_settled() -> bool:
            settled = {line.get("recipient") for line in service.log_lines() if "recipient" in line}
            return {f"bob@{domain}" for domain in hosts} <= settled

        await eventually_asked(is_settled, "each message was attempted")
        is_idle.set()
        # Whoever floods is left, whether it has taken the message or not.
        await eventually(lambda: all(host.ended for host in hosts.values()), "all that flood are left")
        for number in range(len(hosts)):
            await client.transact("me@home.test", [f"v{number}@healthy-beside-floods.test"], LETTER)
        await healthy.received_all(2 * len(hosts) + 1)
        assert service.memory_peak_bytes() - before < 40 * MEGABYTE
        kept = sum(host.connections - host.over for host in hosts.values())
        assert kept == sum(flood in WITHOUT_TLS for flood in FLOODS)
        assert await service.metric("jetpost_delivery_connections") == kept + len(healthy.open)
    copies = {flood: len(host.copies) for flood, host in zip(FLOODS, hosts.values(), strict=True)}
    assert copies == {
        flood: int(flood in WITHOUT_TLS or any("DOT" in moment for moment in does)) for flood, does in FLOODS.items()
    }


def test_hosts_that_never_say_goodbye_are_left_all_the_same() -> None:
    async def run() -> None:
        settings = AttemptSettings(idle_s=0, timeouts=Timeouts(quit_s=PATIENCE_S))
        pool = Pool(settings, "jetpost.test", most=10)
        async with RawHost("mx.test", does={"QUIT": silent}) as host:
            for _ in range(30):
                await tried_with(pool, [host], entry(Inline(LETTER)))
            await eventually(lambda: host.connections - host.over <= 10, "ten goodbyes are waited for")
            assert len(host.copies) == 30

    on_uvloop(run())


@pytest.mark.parametrize("inside", [False, True], ids=["in clear", "inside TLS"])
def test_an_idle_connection_ends_at_the_first_byte(certificates: Certificates, *, inside: bool) -> None:
    async def run() -> None:
        speak = asyncio.Event()

        async def at_the_dot(dialogue: Dialogue) -> None:
            await dialogue.say(OK)
            await speak.wait()
            await dialogue.say(b"x")
            await silent(dialogue)

        pool = Pool(AttemptSettings(idle_s=600), "jetpost.test", most=10)
        tls = certificates.server() if inside else None
        does: dict[str, Act] = {"TLS DOT" if inside else "DOT": at_the_dot}
        async with RawHost("mx.test", does=does, tls=tls) as host:
            await tried_with(pool, [host], entry(Inline(LETTER)))
            assert not host.over
            speak.set()
            await eventually(lambda: host.over, "the connection is dropped")
            assert not pool.idle
            await pool.aclose()

    on_uvloop(run())
