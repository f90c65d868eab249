"""Three nats-servers, every entry on all of them: any one may be killed, or cut off from the others.

And any process of Jetpost may be killed meanwhile.
"""

import random
from collections.abc import Sequence

import pytest

from tests.crash.conftest import Clustered, Told
from tests.crash.kills import KILLS, share_of
from tests.crash.load import Load
from tests.crash.mix import Hosts
from tests.fixtures.nats import NatsServer
from tests.fixtures.process import Service

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900), pytest.mark.asyncio(loop_scope="session")]

CUTS = share_of(3)
MESSAGES = 125 * KILLS
"""At least so many are accepted."""


async def test_any_server_and_any_process_may_be_killed(clustered: Clustered, hosts: Hosts, told: Told) -> None:
    async with clustered(delivery=2) as (system, cluster):
        # Processes of Jetpost are killed half as often as nats-servers.
        kills: list[Sequence[Service | NatsServer]] = [cluster.servers] * KILLS + [system.services] * (KILLS // 2)
        random.shuffle(kills)
        async with Load(system, hosts) as load:
            for victims in kills:
                await load.progress(random.randint(40, 100))
                await load.kill(random.choice(victims))
            await load.reach(MESSAGES)
        result = await load.settled()
    told("three nats-servers: any process killed at random moments", result)
    assert not result.account.faults, str(result)
    assert result.parked
    assert result.by_reference


async def test_any_server_may_be_cut_off_and_come_back(clustered: Clustered, hosts: Hosts, told: Told) -> None:
    """While it is cut off, a process of Jetpost is killed as well."""
    async with clustered(delivery=2) as (system, cluster):
        async with Load(system, hosts) as load:
            for number in range(CUTS):
                await load.progress(random.randint(40, 100))
                async with load.outage(cluster.servers[number], how="cut off"):
                    cluster.cut(number)
                    await load.progress(random.randint(20, 80))
                    await load.kill(random.choice(system.services), alone=False)
                    cluster.heal()
            await load.progress(100)
        result = await load.settled()
    told("three nats-servers: one cut off from the others, and a process killed meanwhile", result)
    assert not result.account.faults, str(result)
