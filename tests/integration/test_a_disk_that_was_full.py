"""A nats-server whose disk was full: said where people look, and each message of then is in the queue once."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import msgspec
import pytest

from jetpost.mail.content import Inline
from jetpost.queue.claims.consume import Consumer
from jetpost.queue.model.entry import Entry
from jetpost.queue.model.states import State
from jetpost.queue.queue import Committed, Queue
from jetpost.queue.storage.answer import Unavailable
from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.eventually import eventually, eventually_asked
from tests.fixtures.letters import LETTER
from tests.fixtures.nats import NatsServer
from tests.fixtures.process import Service
from tests.fixtures.queue import PLENTY, fresh, opened
from tests.fixtures.small_disk import SmallDisk, small_disk

CLIENTS = 8
MEDIUM = LETTER + (b"x" * 78 + b"\r\n") * 400
SMALLER_THAN_THE_DISK = "max_file: 1GB"
"""The server's own limit is of no help: the disk is smaller."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "alone", megabytes=16) as disk:
        yield disk


@pytest.fixture
async def server(disk: SmallDisk) -> AsyncIterator[NatsServer]:
    async with NatsServer(disk.folder.parent, limits=SMALLER_THAN_THE_DISK) as server:
        yield server


async def test_what_a_full_disk_left_in_doubt_is_stored_once(server: NatsServer, disk: SmallDisk) -> None:
    async with opened(server, commit_timeout_s=1) as queue:
        kept: set[str] = set()
        refused = await hand_in_until_full(queue, kept)
        assert {(answer.reply.code, str(answer.reply.status)) for answer in refused} == {(452, "4.3.1")}
        assert {answer.cause for answer in refused if "disk full: " not in answer.cause} == set()
        assert "no space left on device" in (queue.trouble() or "")

        disk.make_room()
        await server.restart()
        await eventually(lambda: queue.trouble() is None, "it takes mail again")
        for message in [two_domains() for _ in refused]:
            assert await queue.enqueue(message) == Committed()
            kept.add(message[0].queue_id)

        await eventually_asked(lambda: _are_stored(queue, kept), "each message is there once, and nothing else")


async def test_what_was_finished_while_the_disk_was_full_does_not_come_back(
    server: NatsServer, disk: SmallDisk
) -> None:
    async with opened(server, commit_timeout_s=1) as queue:
        messages: dict[str, Entry] = {(entry := fresh()).queue_id: entry for _ in range(30)}
        for entry in messages.values():
            await queue.enqueue([entry])
        consumer = await queue.consumer(State.READY, max_claims=10, max_bytes=PLENTY).start()
        claims = [await anext(consumer) for _ in range(10)]
        disk.fill()
        await queue.enqueue([fresh(content=Inline(bytes(200_000)))])  # the server notices
        for claim in claims:
            await queue.settle(claim, [])
        await eventually(lambda: "disk full" in (queue.trouble() or ""), "the process notices")
        await _takes_nothing(consumer)

        disk.make_room()
        await server.restart()
        await eventually(lambda: queue.trouble() is None, "it takes mail again")

        left = messages.keys() - {claim.entry.queue_id for claim in claims}
        await eventually_asked(lambda: _are_stored(queue, left), "what was finished is gone, and all else is there")
        assert (await anext(consumer)).entry.queue_id in left
        await consumer.stop()


async def test_a_full_disk_is_named_to_clients_and_to_who_asks_whether_it_is_ready(
    make_system: MakeSystem, mx: MakeMx, tmp_path: Path
) -> None:
    dest = await mx("full-disk.test")
    with small_disk(tmp_path / "system-0" / "alone", megabytes=16) as disk:
        system = await make_system({"queue.commit_timeout_s": 1}, delivery=0, limits=SMALLER_THAN_THE_DISK)
        accepted = 0
        async with system.relaying() as client:
            while (reply := await client.transact("ann@home.test", ["bob@full-disk.test"], MEDIUM)).code == 250:
                accepted += 1
        assert (reply.code, str(reply.status)) == (452, "4.3.1")
        assert "Disk full" in str(reply)
        refusal = next(line for line in system.ingress[0].log_lines() if line["event"] == "not accepted")
        assert "no space left on device" in refusal["error"]
        for service in (system.ingress[0], system.bouncer):
            await eventually_asked(partial(_names_it, service), f"{service.name} names it")
            assert await service.metric("jetpost_queue_write_error", reason="disk_full") == 1

        disk.make_room()
        await system.servers[0].restart()
        for service in (system.ingress[0], system.bouncer):
            await service.ready()
        await system.scale_delivery(1)
        async with system.relaying() as client:
            assert (await client.transact("ann@home.test", ["bob@full-disk.test"], MEDIUM)).code == 250
        await dest.received_all(accepted + 1)
        await system.empty()
        assert len(dest.messages) == accepted + 1
        await system.stop()


async def hand_in_until_full(queue: Queue, kept: set[str]) -> list[Unavailable]:
    """Clients that hand in messages at the same time, each until it is refused; the refusals."""

    async def client() -> Unavailable:
        while True:
            message = two_domains()
            answer = await queue.enqueue(message)
            if isinstance(answer, Unavailable):
                return answer
            kept.add(message[0].queue_id)

    return await asyncio.gather(*(client() for _ in range(CLIENTS)))


def two_domains() -> list[Entry]:
    """A message for two domains."""
    content = Inline(bytes(10_000))
    first = fresh(content=content)
    return [first, msgspec.structs.replace(fresh("other.test", content), queue_id=first.queue_id)]


async def _are_stored(queue: Queue, queue_ids: set[str]) -> bool:
    """Whether the entries in the queue are those of these messages."""
    about = await queue._jetstream.api("STREAM.INFO.MAIL", {"subjects_filter": "mail.ready.>"})
    return {subject.split(".")[3] for subject in about["state"].get("subjects", {})} == queue_ids


async def _takes_nothing(consumer: Consumer) -> None:
    """Wait until nothing more is asked for: its open request has ended."""
    await eventually(lambda: consumer.room() == 0, "it asks for nothing more")


async def _names_it(service: Service) -> bool:
    reason = await service.obstacles()
    return "disk full" in reason and "no space left on device" in reason
