"""As Kubernetes scales and upgrades, without Kubernetes: delivery from 1 to 5 and back, every process replaced.

Three nats-servers, two ingress, a bouncer.
"""

from collections.abc import Awaitable, Callable

import pytest

from tests.crash.conftest import Clustered, Told
from tests.crash.kills import share_of
from tests.crash.load import Load
from tests.crash.mix import Hosts
from tests.fixtures.eventually import eventually_asked
from tests.fixtures.process import Service

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900), pytest.mark.asyncio(loop_scope="session")]

MOST = 5
TIMES, TIMES_KILLED = share_of(2), share_of(5)
"""How often delivery is scaled up and down."""
LONG_S = 600
"""An `ack_wait_s` that nobody waits for: an entry that a leaving process did not return would stay until then."""


async def takes_part(service: Service) -> None:
    """Wait until a process has delivered something."""

    async def has_delivered() -> bool:
        return await service.metric("jetpost_delivery_recipients_total", outcome="delivered") > 0

    await eventually_asked(has_delivered, f"{service.name} delivers")


async def test_delivery_scales_up_and_down_without_a_trace(clustered: Clustered, hosts: Hosts, told: Told) -> None:
    """Nothing is lost, nothing comes twice, and nobody waits for an entry that a leaving process had."""
    async with clustered(ack_wait_s=LONG_S, ingress=2) as (system, _):
        async with Load(system, hosts) as load:
            for _ in range(TIMES):
                await load.progress(200)
                await system.scale_delivery(MOST)
                for service in system.delivery:
                    await takes_part(service)
                await load.progress(200)
                await system.scale_delivery(1)
            await load.progress(200)
        result = await load.settled()
    told(f"delivery 1 → {MOST} → 1, {TIMES} times, SIGTERM", result)
    assert not result.account.faults, str(result)
    assert not result.duplicates


async def test_delivery_may_be_scaled_down_with_kill(clustered: Clustered, hosts: Hosts, told: Told) -> None:
    async with clustered(ingress=2) as (system, _):
        async with Load(system, hosts) as load:
            for _ in range(TIMES_KILLED):
                await system.scale_delivery(MOST)
                for service in system.delivery:
                    await takes_part(service)
                async with load.outage(*system.delivery[1:]):
                    await system.scale_delivery(1, kill=True)
                await load.progress(100)
        result = await load.settled()
    told(f"delivery 1 → {MOST} → 1, {TIMES_KILLED} times, SIGKILL", result)
    assert not result.account.faults, str(result)


async def test_everything_is_replaced_under_load(clustered: Clustered, hosts: Hosts, told: Told) -> None:
    """A rolling upgrade: each process of Jetpost, one by one."""
    async with clustered(ack_wait_s=LONG_S, ingress=2, delivery=2) as (system, _):
        async with Load(system, hosts) as load:
            for service in system.services:
                await load.progress(100)
                await rolled(service.stop, service.start)
            await load.progress(100)
        result = await load.settled()
    told("Jetpost replaced, process by process", result)
    assert not result.account.faults, str(result)
    assert not result.duplicates


async def test_the_nats_servers_are_replaced_under_load(clustered: Clustered, hosts: Hosts, told: Told) -> None:
    """The rest of it: each nats-server, one by one."""
    async with clustered(ingress=2) as (system, cluster):
        async with Load(system, hosts) as load:
            for server in cluster.servers:
                await load.progress(100)
                async with load.outage(server, how="replaced"):
                    await server.replace()
                    await eventually_asked(cluster.has_leader, "the cluster has a leader")
            await load.progress(100)
        result = await load.settled()
    told("nats-servers replaced, one by one", result)
    assert not result.account.faults, str(result)


async def rolled(stop: Callable[[], Awaitable[int | None]], start: Callable[[], Awaitable[None]]) -> None:
    """End a process in peace, and begin it again."""
    assert await stop() == 0
    await start()
