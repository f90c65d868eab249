"""kill -9 at random moments under load, one process at a time: nothing that got a 250 is lost."""

import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.conftest import MakeMx, MakeSystem
from tests.crash.load import DEST, HOME, Load
from tests.fixtures.system import System

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900), pytest.mark.asyncio(loop_scope="session")]

KILLS = 20

Kill = Callable[[System], Awaitable[None]]


async def kill_an_ingress(system: System) -> None:
    await random.choice(system.ingress).restart()


async def kill_a_delivery(system: System) -> None:
    await random.choice(system.delivery).restart()


async def kill_the_bouncer(system: System) -> None:
    await system.bouncer.restart()


async def kill_nats(system: System) -> None:
    await system.servers[0].restart()


@pytest.mark.parametrize(
    ("kill", "may_duplicate"),
    [(kill_an_ingress, False), (kill_a_delivery, True), (kill_the_bouncer, False), (kill_nats, True)],
    ids=["ingress", "delivery", "bouncer", "nats-server"],
)
async def test_what_got_a_250_arrives_or_is_bounced_exactly_once(
    make_system: MakeSystem,
    mx: MakeMx,
    kill: Kill,
    may_duplicate: bool,
    record_property: Callable[[str, Any], None],
) -> None:
    dest, home = await mx(DEST), await mx(HOME)
    system = await make_system({"queue.commit_timeout_s": 5}, ingress=1, delivery=2)
    async with Load([system.ports.relay], dest, home) as load:
        for _ in range(KILLS):
            await load.progress(random.randint(20, 120))
            async with load.outage():
                await kill(system)
        await load.progress(50)
    account = await load.settled(system)
    record_property("account", str(account))
    print(f"\n{kill.__name__} × {KILLS}: {account}")  # noqa: T201 — the count is the result
    assert not account.lost
    assert not account.outside
    assert may_duplicate or not account.duplicates
