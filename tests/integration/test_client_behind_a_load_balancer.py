"""A load balancer that speaks the PROXY protocol hides nobody: policy and trace know the client it names."""

import ipaddress
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.client import RawClient
from tests.fixtures.letters import LETTER
from tests.fixtures.system import System
from tests.fixtures.users import PASSWORD, USER

BALANCER, STRANGER = "127.0.0.1", "127.0.0.77"
LISTED, UNLISTED = "192.0.2.7", "192.0.2.8"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LOCAL = SIGNATURE + struct.pack("!BBH", 0x20, 0, 0)


def v1(client: str) -> bytes:
    return f"PROXY TCP4 {client} 198.51.100.1 40000 25\r\n".encode()


def v2(client: str) -> bytes:
    source, target = ipaddress.ip_address(client), ipaddress.ip_address("2001:db8::25")
    unneeded = b"\x04\0\x02ab"  # a TLV that only pads
    addresses = source.packed + target.packed + struct.pack("!HH", 40000, 25) + unneeded
    return SIGNATURE + struct.pack("!BBH", 0x21, 0x21, len(addresses)) + addresses


async def behind(make_system: MakeSystem) -> System:
    trusted = ["127.0.0.1/32"]
    return await make_system(
        {
            "ingress.limits.handshake_s": 1,
            "ingress.listeners.0.proxy_protocol_from": trusted,
            "ingress.listeners.1.proxy_protocol_from": trusted,
            "ingress.listeners.2.proxy_protocol_from": trusted,
            "ingress.listeners.2.relay_networks": [f"{LISTED}/32", "2001:db8::7/128", "127.0.0.1/32"],
        }
    )


@asynccontextmanager
async def connected(port: int, header: bytes, source: str = BALANCER) -> AsyncIterator[RawClient]:
    client = await RawClient.connect("127.0.0.1", port, source=source)
    try:
        await client.send(header)
        yield client
    finally:
        await client.aclose()


async def greeted(client: RawClient) -> None:
    assert (await client.reply()).code == 220
    assert (await client.say("EHLO client.test")).is_positive


async def test_the_client_is_whom_the_header_names(make_system: MakeSystem, mx: MakeMx) -> None:
    system, dest = await behind(make_system), await mx("proxied.test")

    for number, (header, client_address) in enumerate([(v1(LISTED), LISTED), (v2("2001:db8::7"), "2001:db8::7")]):
        async with connected(system.ports.relay, header) as client:
            await greeted(client)
            assert (await client.transact("a@home.test", [f"b{number}@proxied.test"], LETTER)).code == 250
        message = await dest.received(f"b{number}@proxied.test")
        assert client_address.encode() in message.content.partition(b"\r\n\r\n")[0]

    async with connected(system.ports.relay, v1(UNLISTED)) as client:
        await greeted(client)
        assert (await client.transact("a@home.test", ["b@proxied.test"], LETTER)).code == 550

    async with connected(system.ports.relay, LOCAL) as client:
        await greeted(client)
        assert (await client.transact("a@home.test", ["own@proxied.test"], LETTER)).code == 250


async def test_the_header_comes_before_tls(make_system: MakeSystem) -> None:
    system = await behind(make_system)
    context = system.surroundings.certificates.client()

    async with connected(system.ports.submissions, v1(UNLISTED)) as client:
        await client.shake_hands(context)
        await greeted(client)
        assert (await client.authenticate(USER, PASSWORD)).code == 235

    async with connected(system.ports.submission, v2("2001:db8::9")) as client:
        await greeted(client)
        assert (await client.starttls(context)).code == 220
        assert (await client.say("EHLO client.test")).is_positive
        assert (await client.authenticate(USER, PASSWORD)).code == 235


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"EHLO client.test\r\n", id="SMTP at once"),
        pytest.param(b"PROXY TCP4 192.0.2.7\r\n", id="half of version 1"),
        pytest.param(b"PROXY TCP4 " + b"1" * 200, id="a version 1 that does not end"),
        pytest.param(SIGNATURE + struct.pack("!BBH", 0x21, 0x11, 4) + b"abcd", id="addresses that are too short"),
        pytest.param(b"PRO", id="silence in the middle"),
    ],
)
async def test_a_balancer_without_a_header_is_hung_up_on(make_system: MakeSystem, said: bytes) -> None:
    system = await behind(make_system)

    async with connected(system.ports.relay, said) as client:
        assert await client.is_closed()
    async with connected(system.ports.relay, v1(LISTED)) as client:
        await greeted(client)
    metrics = await system.ingress[0].metrics()
    assert metrics["jetpost_ingress_proxy_failures_total"] == 1


async def test_who_is_no_balancer_speaks_for_itself(make_system: MakeSystem) -> None:
    system = await behind(make_system)

    async with connected(system.ports.relay, b"", source=STRANGER) as client:
        await greeted(client)
        assert (await client.transact("a@home.test", ["b@elsewhere.test"], LETTER)).code == 550
    async with connected(system.ports.relay, v1(LISTED), source=STRANGER) as client:
        assert (await client.reply()).code == 220
        assert (await client.reply()).code == 500
        assert (await client.say("EHLO client.test")).is_positive
        assert (await client.transact("a@home.test", ["b@elsewhere.test"], LETTER)).code == 550
