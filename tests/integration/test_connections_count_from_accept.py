"""Who never ends a handshake, or never says whose connection it is, counts like everybody else, and not for ever."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.conftest import MakeSystem
from tests.fixtures.client import RawClient
from tests.fixtures.eventually import eventually_asked
from tests.fixtures.system import System

ONE, OTHER, THIRD = "127.0.0.10", "127.0.0.20", "127.0.0.30"
BALANCER = "127.0.0.1"
UNHURRIED = {"ingress.limits.handshake_s": 3600, "ingress.limits.idle_s": 3600}
IN_A_HURRY = {"ingress.limits.handshake_s": 0.5, "ingress.limits.idle_s": 3600}


def trusting(changes: dict[str, Any]) -> dict[str, Any]:
    return {**changes, **{f"ingress.listeners.{number}.proxy_protocol_from": [f"{BALANCER}/32"] for number in range(3)}}


def named(client: str) -> bytes:
    return f"PROXY TCP4 {client} 198.51.100.1 40000 25\r\n".encode()


class Door:
    """Connections to a port, all closed in the end."""

    def __init__(self, stack: AsyncExitStack, port: int) -> None:
        self._stack = stack
        self._port = port

    async def knock(self, source: str, said: bytes = b"") -> RawClient:
        """Connect, and say nothing more than that."""
        client = await RawClient.connect("127.0.0.1", self._port, source=source)
        self._stack.push_async_callback(client.aclose)
        if said:
            await client.send(said)
        return client


async def open_connections(system: System, count: int) -> None:
    async def are_counted() -> bool:
        return await system.ingress[0].metric("jetpost_ingress_connections") == count

    await eventually_asked(are_counted, f"{count} connections are counted")


async def connection_rejected(system: System, reason: str, count: int = 1) -> None:
    async def are_counted() -> bool:
        return await system.ingress[0].metric("jetpost_ingress_rejections_total", reason=reason) == count

    await eventually_asked(are_counted, f"{count} are rejected for {reason}")
    line = await system.told(system.ingress[0], "connection rejected")
    assert (line["reason"], line["client"].startswith("127.0.0.")) == (reason, True)


async def test_half_a_handshake_counts(make_system: MakeSystem) -> None:
    limits = {"ingress.limits.connections": 3, "ingress.limits.connections_per_client": 2}
    system = await make_system({**UNHURRIED, **limits})
    context = system.surroundings.certificates.client()

    async with AsyncExitStack() as stack:
        door = Door(stack, system.ports.submissions)
        held = [await door.knock(ONE), await door.knock(ONE)]
        assert await (await door.knock(ONE)).is_closed()
        held.append(await door.knock(OTHER))
        assert await (await door.knock(THIRD)).is_closed()
        await open_connections(system, 3)
        await connection_rejected(system, "connections", 2)

        await held[0].aclose()
        await open_connections(system, 2)
        late = await door.knock(ONE)
        await late.shake_hands(context)
        assert (await late.reply()).code == 220
    await open_connections(system, 0)


async def test_who_does_not_say_whose_connection_it_is_counts(make_system: MakeSystem) -> None:
    limits = {"ingress.limits.connections": 4, "ingress.limits.connections_per_client": 1}
    system = await make_system(trusting({**UNHURRIED, **limits}))

    async with AsyncExitStack() as stack:
        relay, submissions = Door(stack, system.ports.relay), Door(stack, system.ports.submissions)
        # A balancer has many clients: it may have more connections than one of them.
        silent = [await relay.knock(BALANCER), await submissions.knock(BALANCER)]
        assert (await (await relay.knock(BALANCER, named(ONE))).reply()).code == 220
        # Each client may have one: said in clear, and closed where it would have to be said in TLS.
        refusal = await (await relay.knock(BALANCER, named(ONE))).reply()
        assert (refusal.code, str(refusal.status)) == (421, "4.7.0")
        assert await (await submissions.knock(BALANCER, named(ONE))).is_closed()
        await open_connections(system, 3)

        silent.append(await submissions.knock(BALANCER))
        await open_connections(system, 4)
        assert await (await relay.knock(BALANCER)).is_closed()
        # Who is no balancer needs no header, and is told.
        refusal = await (await relay.knock(OTHER)).reply()
        assert (refusal.code, str(refusal.status)) == (421, "4.3.2")
    await open_connections(system, 0)


@pytest.mark.parametrize("behind_a_balancer", [False, True])
async def test_a_handshake_has_its_time(make_system: MakeSystem, *, behind_a_balancer: bool) -> None:
    system = await make_system(trusting(IN_A_HURRY) if behind_a_balancer else IN_A_HURRY)
    said = named(ONE) if behind_a_balancer else b""

    async with AsyncExitStack() as stack:
        assert await (await Door(stack, system.ports.submissions).knock(BALANCER, said)).is_closed()
        await connection_rejected(system, "handshake")

        client = await Door(stack, system.ports.submission).knock(BALANCER, said)
        assert (await client.reply()).code == 220
        assert (await client.say("EHLO client.test")).is_positive
        assert (await client.say("STARTTLS")).code == 220
        assert await client.is_closed()
        await connection_rejected(system, "handshake", 2)
    await open_connections(system, 0)


async def test_a_header_has_its_time(make_system: MakeSystem) -> None:
    system = await make_system(trusting(IN_A_HURRY))

    async with AsyncExitStack() as stack:
        assert await (await Door(stack, system.ports.submissions).knock(BALANCER, b"PROXY TCP4 ")).is_closed()
        await connection_rejected(system, "proxy")
    await open_connections(system, 0)


async def test_unfinished_handshakes_keep_nobody_from_stopping(make_system: MakeSystem) -> None:
    system = await make_system({**UNHURRIED, "ingress.drain_s": 3600})

    async with AsyncExitStack() as stack:
        client = await Door(stack, system.ports.submissions).knock(ONE)
        await open_connections(system, 1)
        stopping = asyncio.create_task(system.ingress[0].stop())
        assert await client.is_closed()
        assert await stopping == 0
