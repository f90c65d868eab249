"""A retry that nats-server does not begin is begun by the watchdog."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from jetpost.queue.model.entry import Entry
from jetpost.queue.model.publication import Publication
from jetpost.queue.model.states import State
from jetpost.queue.model.transition import publication
from jetpost.queue.storage.answer import Stored
from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.queue import fresh, opened


def forgotten(due: datetime) -> Entry:
    return msgspec.structs.replace(fresh("late.test"), state=State.RETRY, attempts=1, due=due)


async def test_a_retry_that_its_server_has_forgotten_is_begun(
    make_system: MakeSystem, mx: MakeMx, tmp_path: Path
) -> None:
    dest = await mx("late.test")
    system = await make_system({"delivery.watchdog_s": 0.5, "delivery.retry_late_s": 60})
    now = datetime.now(UTC)
    async with opened(system.servers[0]) as queue:
        for due in (now - timedelta(minutes=2), now - timedelta(seconds=1)):
            retry = publication(queue.shards[0], forgotten(due), 0)
            # As good as forgotten: without its schedule the server never begins it.
            headers = {name: value for name, value in retry.headers.items() if not name.startswith("Nats-Schedule")}
            unit = (Publication(retry.subject, headers, retry.payload),)
            assert await queue._committers[0].commit(unit) == Stored()

    await dest.received_all(1)
    await system.queued("retry", 1)  # this one may still be begun by the server
    assert await system.delivery[0].metric("jetpost_delivery_late_retries_total") == 1
