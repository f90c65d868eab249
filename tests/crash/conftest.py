"""What every crash test needs: hosts that tell all that came, and a place for the result."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.conftest import MakeMx
from tests.crash.account import ACK_WAIT_S
from tests.crash.mix import SETTINGS, Hosts
from tests.crash.result import Result
from tests.fixtures.configuration import Surroundings
from tests.fixtures.nats import NatsCluster
from tests.fixtures.system import System

Told = Callable[[str, Result], None]
Clustered = Callable[..., AbstractAsyncContextManager[tuple[System, NatsCluster]]]


@pytest_asyncio.fixture(loop_scope="session")
async def hosts(mx: MakeMx) -> Hosts:
    """Where the load goes."""
    return await Hosts.started(mx)


@pytest.fixture
def told(record_property: Callable[[str, Any], None]) -> Told:
    """Shows a result, under a title, and keeps it for the test's report."""

    def tell(title: str, result: Result) -> None:
        record_property("result", str(result))
        print(f"\n{title}\n{result}")  # noqa: T201 — the count is the result

    return tell


@pytest.fixture
def clustered(surroundings: Surroundings, tmp_path: Path) -> Clustered:
    """Runs three nats-servers with every entry on all of them, and a system on them, while the block runs."""

    @asynccontextmanager
    async def running(
        *, ack_wait_s: float = ACK_WAIT_S, ingress: int = 1, delivery: int = 1
    ) -> AsyncIterator[tuple[System, NatsCluster]]:
        async with NatsCluster(tmp_path) as cluster:
            changes: dict[str, Any] = {
                **SETTINGS,
                "queue.replicas": 3,
                "events.replicas": 3,
                "queue.commit_timeout_s": 15,
                "queue.ack_wait_s": ack_wait_s,
            }
            system = System(tmp_path, surroundings, cluster.servers, changes, ingress=ingress, delivery=delivery)
            try:
                for service in system.services:
                    service.launch()
                for service in system.services:
                    await service.ready()
                yield system, cluster
            finally:
                await system.stop_services()

    return running
