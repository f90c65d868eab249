"""A real Prometheus scrapes the three services, and its queries have answers."""

from pathlib import Path

from tests.conftest import MakeMx
from tests.end_to_end.conftest import needs
from tests.fixtures.eventually import eventually_asked
from tests.fixtures.prometheus import scraping
from tests.fixtures.system import System


async def test_prometheus_sees_the_mail_that_passes(system: System, tmp_path: Path, mx: MakeMx) -> None:
    dest = await mx("measured.test")
    async with scraping(needs("prometheus"), system, tmp_path) as prometheus:
        await system.submit("ann@home.test", ["bob@measured.test"], b"Subject: counted\r\n\r\n1\r\n")
        await dest.received("bob@measured.test")

        async def mail_passed() -> bool:
            return await prometheus.value('sum(jetpost_queue_moves_total{state="ready"})') >= 1

        await eventually_asked(mail_passed, "Prometheus has counted the message")
