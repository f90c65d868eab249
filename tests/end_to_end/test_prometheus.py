"""A real Prometheus scrapes the three services, and its queries have answers."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode

import pytest_asyncio
import yaml

from jetpost.up.probe import free_port, get
from tests.conftest import MakeMx
from tests.end_to_end.conftest import needs
from tests.fixtures.eventually import eventually_asked
from tests.fixtures.process import Process
from tests.fixtures.system import System


class Prometheus:
    """A running Prometheus."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def ask(self, query: str) -> float:
        """The value of a query that has one; 0 while there is none."""
        answer = await get(self._port, f"/api/v1/query?{urlencode({'query': query})}")
        result = json.loads(answer.body)["data"]["result"] if answer and answer.status == 200 else []
        return float(result[0]["value"][1]) if result else 0.0


@pytest_asyncio.fixture(loop_scope="session")
async def prometheus(system: System, tmp_path: Path) -> AsyncIterator[Prometheus]:
    """Prometheus, scraping every service each second."""
    targets = [f"127.0.0.1:{service.http_port}" for service in system.services]
    configuration = {
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [{"job_name": "jetpost", "static_configs": [{"targets": targets}]}],
    }
    configuration_file = tmp_path / "prometheus.yml"
    configuration_file.write_text(yaml.safe_dump(configuration))
    port = free_port()
    process = Process(
        "prometheus",
        [
            needs("prometheus"),
            f"--config.file={configuration_file}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        tmp_path / "prometheus.log",
    )
    process.launch()
    try:
        yield Prometheus(port)
    finally:
        await asyncio.shield(process.stop())


async def test_prometheus_sees_every_service_and_the_mail_that_passes(
    system: System, prometheus: Prometheus, mx: MakeMx
) -> None:
    dest = await mx("measured.test")
    await system.submit("ann@home.test", ["bob@measured.test"], b"Subject: counted\r\n\r\n1\r\n")
    await dest.received("bob@measured.test")

    async def all_up() -> bool:
        return await prometheus.ask('count(up{job="jetpost"} == 1)') == len(system.services)

    async def mail_passed() -> bool:
        return await prometheus.ask('sum(jetpost_queue_moves_total{state="ready"})') >= 1

    await eventually_asked(all_up, "Prometheus sees every service")
    await eventually_asked(mail_passed, "Prometheus has counted the message")
