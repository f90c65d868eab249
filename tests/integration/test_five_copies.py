"""A queue of three copies becomes one of five, and then survives the loss of two servers."""

import asyncio
from functools import partial
from pathlib import Path

from jetpost.queue.model.entry import Entry
from jetpost.queue.queue import Queue
from tests.fixtures.eventually import PATIENCE_S, eventually_asked
from tests.fixtures.nats import NatsCluster
from tests.fixtures.queue import opened
from tests.integration.test_backup import fill, in_queue


async def test_five_servers_keep_five_copies_and_two_may_be_lost(tmp_path: Path) -> None:
    cluster = NatsCluster(tmp_path, 5)
    try:
        await cluster.start()
        async with opened(cluster.servers[0], replicas=3) as queue:
            stored = await fill(queue)

        async with opened(cluster.servers[0], replicas=5) as queue:
            await eventually_asked(partial(_has_five_copies, queue), "there are five copies", within_s=2 * PATIENCE_S)
            await asyncio.gather(*(server.kill() for server in cluster.servers[3:]))

            await eventually_asked(partial(_has_all, queue, stored), "everything is there", within_s=2 * PATIENCE_S)
    finally:
        await cluster.stop()


async def _has_five_copies(queue: Queue) -> bool:
    told = await queue._jetstream.api("STREAM.INFO.MAIL")
    copies = told["cluster"].get("replicas", [])
    return told["config"]["num_replicas"] == 5 and len(copies) == 4 and all(each["current"] for each in copies)


async def _has_all(queue: Queue, stored: list[Entry]) -> bool:
    return await in_queue(queue) == sorted(stored, key=lambda entry: entry.subject)
