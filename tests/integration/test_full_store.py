"""A full queue says so for as long as it is full, whatever a message's size, and heals by itself."""

import pytest

from jetpost.mail.reply import Reply
from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.eventually import eventually_asked
from tests.fixtures.letters import LETTER
from tests.fixtures.system import System

MEDIUM = LETTER + (b"x" * 78 + b"\r\n") * 1250
LARGE = LETTER + (b"x" * 78 + b"\r\n") * 6000
FULL = (452, "4.3.1")
OFTEN = 4


async def send(system: System, content: bytes, *to: str) -> Reply:
    async with system.relaying() as client:
        return await client.transact("ann@home.test", to, content)


def told(reply: Reply) -> tuple[int, str]:
    return reply.code, str(reply.status)


@pytest.mark.parametrize("fullness", ["server", "setting"])
async def test_a_full_store_refuses_mail_of_every_size_and_heals(
    make_system: MakeSystem, mx: MakeMx, fullness: str
) -> None:
    changes = {"queue.max_bytes": 3_000_000} if fullness == "setting" else {}
    system = await make_system(changes, delivery=0, limits="max_file: 4MB" if fullness == "server" else "")
    dest = await mx(f"full-by-{fullness}.test")
    bob = f"bob@full-by-{fullness}.test"

    accepted = 0
    while (reply := await send(system, MEDIUM, bob)).code == 250:
        accepted += 1
    assert told(reply) == FULL
    assert accepted >= 20

    await eventually_asked(lambda: _is_not_ready(system), "it is not ready")
    assert told(await send(system, LARGE, bob)) == FULL
    assert told(await send(system, MEDIUM, bob, "carl@elsewhere.test")) == FULL
    if fullness == "server":
        # It is looked at again and again, and what comes of that is no readiness that comes and goes.
        looked = await _refused(system)
        while await _refused(system) < looked + OFTEN:
            assert await _is_not_ready(system)

    await system.scale_delivery(1)
    await dest.received_all(accepted)
    await system.empty()
    await system.ingress[0].ready()
    assert (await send(system, LARGE, bob)).code == 250
    await dest.received_all(accepted + 1)
    await system.empty()


async def test_large_contents_count(make_system: MakeSystem, mx: MakeMx) -> None:
    system = await make_system({"queue.max_bytes": 2_000_000}, delivery=0)

    await mx("large-counts.test")
    for _ in range(5):
        await send(system, LARGE, "bob@large-counts.test")

    await eventually_asked(lambda: _is_not_ready(system), "it is not ready")
    assert told(await send(system, LARGE, "bob@large-counts.test")) == FULL


async def _is_not_ready(system: System) -> bool:
    return not await system.ingress[0].is_ready()


async def _refused(system: System) -> float:
    return await system.ingress[0].metric("jetpost_queue_commits_total", result="full")
