"""Of three copies of a stream one or all have lost messages: a copy that has not leads, and what none has is a loss."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from jetpost.jetstream.errors import ApiError, Unreachable
from jetpost.queue.integrity.board import Board
from jetpost.queue.queue import Committed, Queue
from jetpost.queue.storage.answer import Unavailable
from tests.fixtures.eventually import eventually_asked
from tests.fixtures.nats import NatsCluster, NatsServer
from tests.fixtures.queue import fresh, opened

ENTRIES = 100
Damage = Callable[[Path], None]


def truncated(block: Path) -> None:
    data = block.read_bytes()
    block.write_bytes(data[: len(data) // 2])


def emptied(block: Path) -> None:
    block.write_bytes(b"")


def removed(block: Path) -> None:
    block.unlink()


async def damaged(servers: Sequence[NatsServer], damage: Damage) -> None:
    """Take a part of their copies away while they are down."""
    for server in servers:
        await server.stop()  # one that was killed is given all of it again by the others
        (block,) = server._store.rglob("MAIL/msgs/*.blk")
        damage(block)
    for server in servers:
        server.launch()
    for server in servers:
        await server.healthy()


async def lead(queue: Queue, server: NatsServer) -> None:
    """Let it lead MAIL."""

    async def leads() -> bool:
        with contextlib.suppress(Unreachable, ApiError):  # while one is chosen
            if await leader(queue) == server.name:
                return True
            wanted = {"placement": {"preferred": server.name}}
            await queue._jetstream.api("STREAM.LEADER.STEPDOWN.MAIL", wanted)
        return False

    await eventually_asked(leads, f"{server.name} leads")


async def leader(queue: Queue) -> str:
    return str((await queue._jetstream.api("STREAM.INFO.MAIL"))["cluster"].get("leader"))


async def stored(queue: Queue) -> int:
    """How many entries the leader of MAIL has."""
    return int((await queue._jetstream.api("STREAM.INFO.MAIL"))["state"]["messages"])


async def noted(queue: Queue) -> int:
    """How many entries MAIL is known to have."""
    note = await Board(queue._jetstream).read("stream.MAIL")
    assert note is not None
    return int(note.value["messages"])


async def looked(queue: Queue) -> bool:
    try:
        await queue._keeper.look()
    except (Unreachable, ApiError):
        return False
    return True


async def filled(queue: Queue) -> None:
    answers = await asyncio.gather(*(queue.enqueue([fresh()]) for _ in range(ENTRIES)))
    assert set(answers) == {Committed()}
    for _ in range(3):  # what is noted was seen a look before
        await queue._keeper.look()


async def all_are_back(queue: Queue) -> bool:
    """Whether the leader has all, and nobody says that anything was lost."""
    await looked(queue)
    return queue.trouble() is None and await stored(queue) >= ENTRIES


@pytest.mark.parametrize("damage", [truncated, emptied, removed])
async def test_a_copy_that_lost_messages_does_not_lead(tmp_path: Path, damage: Damage) -> None:
    async with NatsCluster(tmp_path) as cluster:
        first, _, third = cluster.servers
        async with opened(first, replicas=3) as queue:
            await filled(queue)
        async with opened(first, replicas=3) as queue:
            await damaged([third], damage)
            await third.current(within_s=60)
            await eventually_asked(lambda: looked(queue), "the copy of the leader of now is known")
            await lead(queue, third)
            assert await stored(queue) < ENTRIES
        async with opened(first, replicas=3) as queue:
            # A commit in doubt leaves a message of its own.
            assert await noted(queue) >= ENTRIES, "the process that ended has noted the damage"
            if damage is emptied:  # nothing is said, so only who knows another leader can doubt this one
                await eventually_asked(lambda: another_leads(queue, third), "another leads")
            await eventually_asked(lambda: all_are_back(queue), "the leader has all")
            assert await queue.enqueue([fresh()]) == Committed()
            doubted = {"stream": "MAIL", "server": third.name}
            assert REGISTRY.get_sample_value("jetpost_queue_replica_suspect", doubted) == 1


async def another_leads(queue: Queue, server: NatsServer) -> bool:
    """Whether it leads no more."""
    with contextlib.suppress(Unreachable, ApiError):
        return await leader(queue) not in {"", "None", server.name}
    return False


async def test_what_every_copy_lost_is_lost(tmp_path: Path) -> None:
    async with NatsCluster(tmp_path) as cluster:
        async with opened(cluster.servers[0], replicas=3) as queue:
            await filled(queue)
        await damaged(cluster.servers, truncated)
        await eventually_asked(cluster.has_leader, "the cluster has a leader")

        async with opened(cluster.servers[0], replicas=3) as queue:

            async def is_told() -> bool:
                await looked(queue)
                return "MAIL has lost messages" in str(queue.trouble())

            await eventually_asked(is_told, "messages are lost")
            assert isinstance(await queue.enqueue([fresh()]), Unavailable)


async def test_what_a_server_has_again_is_not_lost(tmp_path: Path) -> None:
    """nats-server names it as lost until its next start, also when the others have given it back."""
    async with NatsServer(tmp_path) as server, opened(server) as queue:
        await filled(queue)
        await queue.shards[0].delete(7)
        (copies,) = [stream.copies for stream in queue._keeper._streams if stream.name == "MAIL"]

        assert await copies.absent(((1, 5), (90, 100))) == ()
        assert await copies.absent(((5, 9), (100, 102))) == ((7, 7), (101, 102))
        assert await copies.absent(((1, 1 << 40),)) == ((1, 1 << 40),), "too many to ask for"
