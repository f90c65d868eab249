"""Files that nats-server cannot open, after a kill at any moment: nobody starts empty, and no message is lost.

One server is that of `jetpost up`, which deletes what it cannot open. Three are of the cluster, with the fault on one
of them and on all.
"""

import asyncio
import contextlib
import json
import random
import smtplib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from jetpost.config.refused import Unsafe
from jetpost.jetstream.errors import ApiError, Unreachable
from jetpost.queue.queue import Committed, Queue
from jetpost.up.nats import nats_server
from tests.fixtures.eventually import PATIENCE_S, eventually, eventually_asked
from tests.fixtures.nats import NatsCluster, NatsServer, executable
from tests.fixtures.one_machine import RELAY, OneMachine
from tests.fixtures.one_queue import queued
from tests.fixtures.queue import fresh, opened
from tests.fixtures.store_faults import (
    Fault,
    a_damaged_head,
    a_file_for_a_folder,
    a_folder_for_a_file,
    a_foreign_owner,
)

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]

CLIENTS = 3
A_ROUND = 60
LETTER = b"Subject: hello\r\n\r\nhello\r\n"
STREAMS = "jetstream/$G/streams"


class Client:
    """Hands in messages for as long as somebody listens."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.accepted: set[str] = set()
        """Queue ids of those that got a 250."""
        self.doubtful = 0
        """Messages whose final dot may have gone out, and that got no 250: the queue has them or not."""
        self.left_for = ""
        """Why it has gone."""

    def hand_in(self) -> None:
        """One after the other, until the server is gone. Runs in a thread."""
        try:
            with smtplib.SMTP("127.0.0.1", self._port, timeout=PATIENCE_S) as client:
                client.ehlo()
                while True:
                    client.mail("me@home.test")
                    client.rcpt("ann@dest.test")
                    self.doubtful += 1
                    code, said = client.data(LETTER)
                    if code == 250:
                        self.doubtful -= 1
                        self.accepted.add(said.split()[-1].decode())
        except (OSError, smtplib.SMTPException) as error:
            self.left_for = repr(error)


async def hand_in_until_killed(machine: OneMachine, count: int) -> list[Client]:
    """Kill a machine under load, as soon as so many messages are accepted; what its clients know then."""
    clients = [Client(machine.ports[RELAY]) for _ in range(CLIENTS)]
    load = asyncio.gather(*(asyncio.to_thread(client.hand_in) for client in clients))

    def enough() -> bool:
        assert not load.done(), [client.left_for for client in clients]
        return sum(len(client.accepted) for client in clients) >= count

    await eventually(enough, f"{count} messages are accepted")
    await machine.kill()
    await load
    return clients


async def test_one_server_has_every_message_after_every_fault_and_kill(tmp_path: Path) -> None:
    machine = OneMachine(tmp_path)
    machine.environment["PATH"] = "/nonexistent"  # the server that came with this installation, and no newer one
    clients: list[Client] = []
    streams = nats_server.store(machine.data) / STREAMS
    refused = 0
    for fault in (a_foreign_owner, a_damaged_head, a_file_for_a_folder, a_folder_for_a_file):
        await started(machine)
        clients += await hand_in_until_killed(machine, A_ROUND)

        undo = fault(streams)
        machine.launch()
        assert await machine.gone() == 78, machine.log_tail()
        refused += str(streams) in machine.log_tail()
        undo()
        machine.launch()
        await asyncio.sleep(random.uniform(0, 1.5))  # whatever it is doing by then
        await machine.kill()

    await started(machine)
    listed = json.loads(
        await machine.command("queue", "--data", str(machine.data), "list", "--json", "--limit", "1000000")
    )
    stored = {entry["queue_id"] for entry in listed}
    accepted = set().union(*(client.accepted for client in clients))
    doubtful = sum(client.doubtful for client in clients)
    print(f"\n{len(accepted)} accepted, {len(stored)} stored, {doubtful} in doubt")  # noqa: T201
    assert await machine.stop() == 0
    assert refused == 4
    assert len(accepted) >= 4 * A_ROUND
    assert accepted <= stored
    assert len(stored) - len(accepted) <= doubtful
    assert len(listed) == len(stored)


async def started(machine: OneMachine) -> None:
    """Start it, and wait until an ingress of this life is ready: what is written of the last one was never cleared."""
    before = machine.children().get("ingress-1")
    machine.launch()
    await machine.child_ready("ingress-1", other_than=before.pid if before else 0)


@pytest.mark.parametrize("fault", [a_damaged_head, a_file_for_a_folder])
async def test_three_servers_have_every_message_after_a_fault_on_one_and_on_all(tmp_path: Path, fault: Fault) -> None:
    if nats_server.version(executable()) < (2, 15, 3):
        pytest.skip("NATS_SERVER names no nats-server that keeps what it cannot open")
    async with NatsCluster(tmp_path) as cluster:
        async with opened(cluster.servers[-1], replicas=3, commit_timeout_s=PATIENCE_S) as queue:
            stored = [fresh() for _ in range(200)]
            answers = await asyncio.gather(*(queue.enqueue([entry]) for entry in stored))
            assert set(answers) == {Committed()}
        expected = {entry.queue_id for entry in stored}

        async with broken(cluster.servers[:1], fault):
            await cluster.servers[0].healthy()
            await eventually_asked(cluster.has_leader, "there is a leader")
            async with opened(cluster.servers[-1], replicas=3) as queue:
                assert await answered(queue) == expected
        async with broken(cluster.servers, fault):
            # Refused, or nobody can say: never an empty queue.
            with contextlib.suppress(Unsafe, TimeoutError):
                async with asyncio.timeout(15), opened(cluster.servers[-1], replicas=3) as queue:
                    assert await answered(queue) == expected
        await eventually_asked(cluster.has_leader, "there is a leader")
        async with opened(cluster.servers[-1], replicas=3) as queue:
            assert await answered(queue) == expected


async def answered(queue: Queue) -> set[str]:
    """The queue ids of all entries, as soon as a replica listens."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with contextlib.suppress(Unreachable, ApiError):
                return await queued(queue)
            await asyncio.sleep(0.1)


@asynccontextmanager
async def broken(servers: list[NatsServer], fault: Fault) -> AsyncIterator[None]:
    """These servers, killed and running again with a fault while the block runs; killed and mended after it."""
    for server in servers:
        await server.kill()
    undo = [fault(server._store / STREAMS) for server in servers]
    for server in servers:
        server.launch()
    yield
    for server in servers:
        await server.kill()
    for mend in undo:
        mend()
    for server in servers:
        server.launch()
    for server in servers:
        await server.healthy()
