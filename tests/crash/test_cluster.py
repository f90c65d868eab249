"""Three nats-servers, every entry on all of them: any one may be killed, or cut off from the others."""

import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.conftest import MakeMx
from tests.crash.load import DEST, HOME, Load
from tests.fixtures.configuration import Surroundings
from tests.fixtures.nats import NatsCluster
from tests.fixtures.system import System

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900), pytest.mark.asyncio(loop_scope="session")]

KILLS = 20
CUTS = 5


@pytest_asyncio.fixture(loop_scope="session")
async def cluster(tmp_path: Path) -> AsyncIterator[NatsCluster]:
    async with NatsCluster(tmp_path) as cluster:
        yield cluster


@pytest_asyncio.fixture(loop_scope="session")
async def system(cluster: NatsCluster, surroundings: Surroundings, tmp_path: Path) -> AsyncIterator[System]:
    changes = {"queue.replicas": 3, "events.replicas": 3, "queue.commit_timeout_s": 15}
    system = System(tmp_path, surroundings, cluster.servers, changes, delivery=2)
    for service in system.services:
        service.launch()
    for service in system.services:
        await service.ready()
    yield system
    for service in system.services:
        assert await service.stop() == 0


async def test_any_server_may_be_killed(
    cluster: NatsCluster, system: System, mx: MakeMx, record_property: Callable[[str, Any], None]
) -> None:
    dest, home = await mx(DEST), await mx(HOME)
    async with Load([system.ports.relay], dest, home) as load:
        for _ in range(KILLS):
            await load.progress(random.randint(20, 100))
            async with load.outage():
                await random.choice(cluster.servers).restart()
        await load.progress(50)
    account = await load.settled(system)
    record_property("account", str(account))
    print(f"\na server of three × {KILLS}: {account}")  # noqa: T201 — the count is the result
    assert not account.lost
    assert not account.outside


async def test_any_server_may_be_cut_off_and_come_back(
    cluster: NatsCluster, system: System, mx: MakeMx, record_property: Callable[[str, Any], None]
) -> None:
    dest, home = await mx(DEST), await mx(HOME)
    async with Load([system.ports.relay], dest, home) as load:
        for number in range(CUTS):
            await load.progress(random.randint(20, 100))
            async with load.outage():
                cluster.cut(number % 3)
                await load.progress(100, within_s=120)
                cluster.heal()
        await load.progress(50)
    account = await load.settled(system)
    record_property("account", str(account))
    print(f"\na server cut off × {CUTS}: {account}")  # noqa: T201 — the count is the result
    assert not account.lost
    assert not account.outside
