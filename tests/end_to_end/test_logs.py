"""The query of the dashboards' log panel, asked of a real Loki that has the logs of a live system."""

import os
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from docs.dashboards.message import MESSAGE
from tests.conftest import MakeMx
from tests.fixtures.eventually import eventually
from tests.fixtures.letters import LETTER
from tests.fixtures.loki import Loki, collecting
from tests.fixtures.mx_script import greylist
from tests.fixtures.process import Service
from tests.fixtures.prometheus import NAMESPACE
from tests.fixtures.system import System

pytestmark = pytest.mark.timeout(300)  # Loki takes its time to start


@pytest.fixture
async def loki(tmp_path: Path) -> AsyncIterator[Loki]:
    program = os.environ.get("LOKI") or shutil.which("loki")
    if program is None:
        pytest.skip("needs loki on the PATH or in $LOKI; tests/end_to_end/loki/build makes one")
    async with collecting(program, tmp_path) as loki:
        yield loki


async def test_the_panel_shows_the_life_of_one_message(system: System, mx: MakeMx, loki: Loki) -> None:
    began = datetime.now(UTC)
    await mx("life.test", replies={"grey": greylist()})
    await system.submit("ann@home.test", ["grey@life.test"], LETTER)
    await system.submit("ann@home.test", ["other@life.test"], LETTER)
    await system.empty()
    ingress, delivery = system.ingress[0], system.delivery[0]
    await eventually(lambda: _delivered(delivery) >= {"grey@life.test", "other@life.test"}, "both are delivered")
    grey, other = [line["queue_id"] for line in ingress.log_lines() if line["event"] == "accepted"][-2:]
    await loki.collect(system.services)
    ended = datetime.now(UTC) + timedelta(seconds=1)

    lines_of_message = await loki.lines(_asked(grey), began, ended)
    assert [(line.pod, line.said["event"]) for line in lines_of_message] == [
        ("ingress-0", "accepted"),
        ("delivery-0", "deferred"),
        ("delivery-0", "delivered"),
    ]
    assert {line.said["queue_id"] for line in lines_of_message} == {grey}
    assert {line.said["queue_id"] for line in await loki.lines(_asked(""), began, ended)} == {grey, other}
    assert not await loki.lines(_asked(grey).replace(NAMESPACE, "elsewhere"), began, ended)


def _delivered(delivery: Service) -> set[str]:
    return {line["recipient"] for line in delivery.log_lines() if line["event"] == "delivered"}


def _asked(queue_id: str) -> str:
    """The panel's query as Grafana asks it, with what the reader has chosen and typed."""
    (panel,) = MESSAGE.logs
    return panel.query.replace("$namespace", NAMESPACE).replace("$queue_id", queue_id)
