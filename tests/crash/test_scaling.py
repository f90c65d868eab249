"""As Kubernetes scales and upgrades, without Kubernetes: delivery from 1 to 5 and back, every process replaced.

Three nats-servers, two ingress, a bouncer.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MakeMx
from tests.crash.load import DEST, HOME, Account, Load
from tests.fixtures.configuration import Surroundings
from tests.fixtures.eventually import eventually_asked
from tests.fixtures.nats import NatsCluster
from tests.fixtures.process import Service
from tests.fixtures.system import System

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900), pytest.mark.asyncio(loop_scope="session")]

MOST = 5
LONG_S = 600
"""An `ack_wait_s` that nobody waits for: an entry that a leaving process did not hand back would stay until then."""


@asynccontextmanager
async def running(
    folder: Path, surroundings: Surroundings, ack_wait_s: float
) -> AsyncIterator[tuple[System, NatsCluster]]:
    """A cluster, and a system on it with one delivery process."""
    async with NatsCluster(folder) as cluster:
        changes: dict[str, Any] = {
            "queue.replicas": 3,
            "events.replicas": 3,
            "queue.commit_timeout_s": 15,
            "queue.ack_wait_s": ack_wait_s,
        }
        system = System(folder, surroundings, cluster.servers, changes, ingress=2)
        for service in system.services:
            service.launch()
        for service in system.services:
            await service.ready()
        try:
            yield system, cluster
        finally:
            for service in system.services:
                assert await service.stop() == 0


async def takes_part(service: Service) -> None:
    """Wait until a process has delivered something."""

    async def has_delivered() -> bool:
        return await service.metric("jetpost_delivery_recipients_total", outcome="delivered") > 0

    await eventually_asked(has_delivered, f"{service.name} delivers")


def told(name: str, account: Account, record_property: Callable[[str, Any], None]) -> None:
    record_property("account", str(account))
    print(f"\n{name}: {account}")  # noqa: T201 — the count is the result


async def test_delivery_scales_up_and_down_without_a_trace(
    surroundings: Surroundings, tmp_path: Path, mx: MakeMx, record_property: Callable[[str, Any], None]
) -> None:
    """Nothing is lost, nothing comes twice, and nobody waits for an entry that a leaving process had."""
    dest, home = await mx(DEST), await mx(HOME)
    async with running(tmp_path, surroundings, LONG_S) as (system, _):
        async with Load([system.ports.relay], dest, home) as load:
            for _ in range(2):
                await load.progress(200)
                await system.scale_delivery(MOST)
                for service in system.delivery:
                    await takes_part(service)
                await load.progress(200)
                await system.scale_delivery(1)
            await load.progress(200)
        account = await load.settled(system)
    told(f"delivery 1 → {MOST} → 1 twice, SIGTERM", account, record_property)
    assert not account.lost
    assert not account.duplicates


async def test_delivery_may_be_scaled_down_with_kill(
    surroundings: Surroundings, tmp_path: Path, mx: MakeMx, record_property: Callable[[str, Any], None]
) -> None:
    dest, home = await mx(DEST), await mx(HOME)
    async with running(tmp_path, surroundings, 2) as (system, _):
        async with Load([system.ports.relay], dest, home) as load:
            for _ in range(5):
                await system.scale_delivery(MOST)
                for service in system.delivery:
                    await takes_part(service)
                async with load.outage():
                    await system.scale_delivery(1, kill=True)
                await load.progress(100)
        account = await load.settled(system)
    told(f"delivery 1 → {MOST} → 1 five times, SIGKILL", account, record_property)
    assert not account.lost
    assert not account.outside


async def test_everything_is_replaced_under_load(
    surroundings: Surroundings, tmp_path: Path, mx: MakeMx, record_property: Callable[[str, Any], None]
) -> None:
    """A rolling upgrade: each process of Jetpost, one by one, then each nats-server."""
    dest, home = await mx(DEST), await mx(HOME)
    async with running(tmp_path, surroundings, LONG_S) as (system, _):
        await system.scale_delivery(2)
        async with Load([system.ports.relay], dest, home) as load:
            for service in system.services:
                await load.progress(100)
                await rolled(service.stop, service.start)
            await load.progress(100)
        account = await load.settled(system)
    told("Jetpost replaced, process by process", account, record_property)
    assert not account.lost
    assert not account.duplicates


async def test_the_nats_servers_are_replaced_under_load(
    surroundings: Surroundings, tmp_path: Path, mx: MakeMx, record_property: Callable[[str, Any], None]
) -> None:
    dest, home = await mx(DEST), await mx(HOME)
    async with running(tmp_path, surroundings, 5) as (system, cluster):
        async with Load([system.ports.relay], dest, home) as load:
            for server in cluster.servers:
                await load.progress(100)
                async with load.outage():
                    await server.replace()
                    await eventually_asked(cluster.has_leader, "the cluster has a leader")
            await load.progress(100)
        account = await load.settled(system)
    told("nats-servers replaced, one by one", account, record_property)
    assert not account.lost
    assert not account.outside


async def rolled(stop: Callable[[], Awaitable[int | None]], start: Callable[[], Awaitable[None]]) -> None:
    """End a process in peace, and begin it again."""
    assert await stop() == 0
    await start()
