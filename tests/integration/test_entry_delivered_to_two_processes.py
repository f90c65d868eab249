"""A process that stood still comes back to entries that others have claimed meanwhile."""

import json
import signal
from collections import Counter

import nats

from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.eventually import eventually, eventually_asked
from tests.fixtures.letters import LETTER
from tests.fixtures.mx_script import SILENCE
from tests.fixtures.process import Service
from tests.fixtures.system import System

ONE_AT_A_TIME = {
    "delivery.lanes.connections_per_domain": 1,
    "delivery.lanes.first_connections": 1,
    "delivery.retry.first_s": 1,
    "queue.ack_wait_s": 2,
}


async def test_what_others_have_delivered_is_neither_attempted_nor_retried(make_system: MakeSystem, mx: MakeMx) -> None:
    """What waited in its lane is not begun; what it was at, and puts off, does not come again."""
    dest = await mx("still.test", replies={"DATA": (SILENCE,)})
    system = await make_system(ONE_AT_A_TIME)
    (still,) = system.delivery
    await system.submit("me@home.test", ["begun@still.test"], LETTER)
    await eventually(lambda: dest.heard["DATA"], "the first attempt is under way")
    await system.submit("me@home.test", ["waiting@still.test"], LETTER)
    await eventually_asked(lambda: still.metric("jetpost_delivery_waiting"), "the second entry waits for it")

    still.signal(signal.SIGSTOP)
    await system.scale_delivery(2)
    await dest.received("begun@still.test")
    await dest.received("waiting@still.test")
    still.signal(signal.SIGCONT)
    for connection in list(dest.open):
        connection.abort()

    await system.told(still, "deferred")
    await system.told(still, "already settled by another process")
    await system.empty()
    assert sorted(message.recipients for message in dest.messages) == [("begun@still.test",), ("waiting@still.test",)]


async def test_what_waits_in_two_processes_is_delivered_once(make_system: MakeSystem, mx: MakeMx) -> None:
    """Neither has begun it, so each could ask whether it is still open, hear yes, and begin at the same time."""
    dest = await mx("both.test", replies={"DATA": (SILENCE, SILENCE)})
    system = await make_system(ONE_AT_A_TIME)
    (still,) = system.delivery
    await system.submit("me@home.test", ["begun@both.test"], LETTER)
    await eventually(lambda: dest.heard["DATA"], "the first attempt is under way")
    names = [f"waiting{number}@both.test" for number in range(30)]
    for name in names:
        await system.submit("me@home.test", [name], LETTER)
    await eventually_asked(lambda: _waits(still, len(names)), "all others wait for it")

    still.signal(signal.SIGSTOP)
    await system.scale_delivery(2)
    (other,) = (process for process in system.delivery if process is not still)
    await eventually(lambda: dest.heard["DATA"] == 2, "the other process has begun the first")
    await eventually_asked(lambda: _waits(other, len(names)), "all others wait for that one as well")
    still.signal(signal.SIGCONT)
    for connection in list(dest.open):
        connection.abort()

    await system.empty()
    taken = Counter(name for message in dest.messages for name in message.recipients)
    assert taken == Counter([*names, "begun@both.test"])


async def _waits(process: Service, entries: int) -> bool:
    return await process.metric("jetpost_delivery_waiting") == entries


async def test_what_came_while_a_process_stood_still_is_not_new_to_it(make_system: MakeSystem, mx: MakeMx) -> None:
    """It waits in the socket: who reads it later sees a first delivery, and others have had it since `ack_wait_s`."""
    dest = await mx("late.test")
    system = await make_system(ONE_AT_A_TIME)
    (still,) = system.delivery

    names: list[str] = []
    async with system.submitting() as client:
        while not await _given(system):  # its pull was not open any more, and is not asked for again
            still.signal(signal.SIGCONT)
            await system.empty()
            names.append(f"message{len(names)}@late.test")
            still.signal(signal.SIGSTOP)
            assert (await client.transact("me@home.test", [names[-1]], LETTER)).code == 250
    await system.scale_delivery(2)
    await dest.received(names[-1])
    still.signal(signal.SIGCONT)

    await system.told(still, "already settled by another process")
    await system.empty()
    assert Counter(message.recipients for message in dest.messages) == Counter((name,) for name in names)


async def _given(system: System) -> bool:
    """Whether the server has given an entry to a process, which has not settled it."""
    (server,) = system.servers
    nc = await nats.connect(server.url)
    try:
        about = json.loads((await nc.request("$JS.API.CONSUMER.INFO.MAIL.ready", timeout=5)).data)
    finally:
        await nc.close()
    return bool(about["num_ack_pending"])
