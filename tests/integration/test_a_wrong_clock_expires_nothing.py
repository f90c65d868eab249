"""A process whose clock is days off bounces nothing for its age, says so, and goes on by the servers' time."""

import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
import pytest_asyncio

from jetpost.jetstream.connection import JetStream
from jetpost.jetstream.settings import Nats
from jetpost.queue.clock.clock import Clock
from jetpost.queue.listing import entries
from jetpost.queue.model.states import State
from jetpost.queue.provision.settings import QueueSettings
from jetpost.queue.queue import Committed, Queue
from jetpost.queue.storage.answer import Unavailable
from jetpost.queue.storage.shard import StoredEntry
from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.eventually import eventually_asked
from tests.fixtures.letters import LETTER
from tests.fixtures.nats import NatsServer
from tests.fixtures.process import Service
from tests.fixtures.queue import fresh, opened
from tests.fixtures.system import System

DAYS = 86400
WRONG = """
import runpy, sys, time
right = time.time
time.time = lambda: right() + {seconds}
sys.argv = [{name!r}]
runpy.run_module({name!r}, run_name="__main__", alter_sys=True)
"""
"""A service on a machine whose clock is wrong, as far as the service can see."""


def wrong(service: Service, name: str, days: float) -> Service:
    service._command = [sys.executable, "-c", WRONG.format(seconds=days * DAYS, name=name)]
    return service


async def says_why(service: Service) -> None:
    async def is_told() -> bool:
        return "queue.clock_tolerance_s" in await service.obstacles()

    await eventually_asked(is_told, f"{service.name} says that its clock is wrong")


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with NatsServer(tmp_path) as running:
        yield running


async def only(system: System, state: State) -> StoredEntry:
    async with opened(system.servers[0]) as queue:
        await system.queued(state.value)
        ((_, found),) = await entries(queue, state=state)
        return found


@pytest.mark.parametrize("days", [6, -6])
async def test_a_deferral_stays_a_deferral(make_system: MakeSystem, mx: MakeMx, days: int) -> None:
    system = await make_system(delivery=0)
    await mx(f"clock-{abs(days)}{'a' if days > 0 else 'b'}.test", replies={"RCPT": "451 4.2.0 later"})
    domain = f"clock-{abs(days)}{'a' if days > 0 else 'b'}.test"
    delivery = wrong(system._delivery(0), "delivery", days)
    system.delivery.append(delivery)
    delivery.launch()
    await says_why(delivery)
    assert await delivery.metric("jetpost_clock_offset_seconds") == pytest.approx(days * DAYS, abs=60)

    assert (await system.submit("ann@home.test", [f"bob@{domain}"], LETTER)).code == 250
    stored = await only(system, State.RETRY)
    assert stored.entry.due is not None
    # As far from now as a first retry is, by the servers' clock: neither at once nor in six days.
    assert timedelta(0) < stored.entry.due - datetime.now(UTC) < timedelta(days=1)


async def test_parked_mail_is_not_expired_by_a_clock_that_is_ahead(make_system: MakeSystem, mx: MakeMx) -> None:
    system = await make_system({"delivery.watchdog_s": 0.2, "delivery.overdue_s": 0}, delivery=0)
    await mx("parked-clock.test", replies={"RCPT": "451 4.2.0 later"})
    async with opened(system.servers[0]) as queue:
        entry = fresh("parked-clock.test")
        assert await queue.enqueue([entry]) == Committed()
        ((_, stored),) = await entries(queue, state=State.READY)
        assert await queue.move(queue.shards[0], stored, [entry.moved(State.PARKED)])
    delivery = wrong(system._delivery(0), "delivery", 30)
    system.delivery.append(delivery)
    delivery.launch()

    # The watchdog looks for what is beyond its age before it takes parked mail back.
    await system.queued("retry")
    assert await delivery.metric("jetpost_delivery_watchdog_expired_total") == 0


@pytest.mark.parametrize("days", [6, -6])
async def test_nothing_is_accepted_by_a_wrong_clock(make_system: MakeSystem, days: int) -> None:
    system = await make_system(ingress=0, delivery=0)
    ingress = wrong(system._service("ingress", 0), "ingress", days)
    system.ingress.append(ingress)
    ingress.launch()
    await says_why(ingress)
    reply = await system.submit("ann@home.test", ["bob@dest.test"], LETTER)
    assert (reply.code, str(reply.status)) == (451, "4.3.0")
    assert not await system.depth()


async def test_a_dsn_has_the_servers_date(make_system: MakeSystem, mx: MakeMx) -> None:
    system = await make_system()
    home = await mx("clock-home.test")
    await mx("clock-never.test", replies={"RCPT": "550 5.1.1 no such user"})
    assert await system.bouncer.stop() == 0
    wrong(system.bouncer, "bouncer", 6).launch()
    await says_why(system.bouncer)
    assert (await system.submit("ann@clock-home.test", ["bob@clock-never.test"], LETTER)).code == 250

    dsn = await home.received("ann@clock-home.test")
    date = parsedate_to_datetime(dsn.fields("Date")[0])
    assert abs(date - datetime.now(UTC)) < timedelta(days=1)


async def test_a_clock_that_is_set_while_a_process_runs_is_noticed_at_once(server: NatsServer) -> None:
    set_by = 0.0
    nats = Nats(servers=(server.url,), monitoring=(server.monitoring_url,))
    jetstream = await JetStream.connect(nats, "test")
    queue = await Queue.open(jetstream, QueueSettings(store_protected=True), wall=lambda: time.time() + set_by)
    try:
        assert queue.trouble() is None
        assert queue.clock.may_expire()
        for seconds in (3.0 * DAYS, -3.0 * DAYS):
            set_by = seconds
            assert "queue.clock_tolerance_s" in str(queue.trouble())
            assert not queue.clock.may_expire()
            assert abs(queue.clock.now() - datetime.now(UTC)) < timedelta(hours=1)
            assert isinstance(await queue.enqueue([fresh()]), Unavailable)
            await queue.clock.measure()
            assert "queue.clock_tolerance_s" in str(queue.trouble())
            assert abs(queue.clock.now() - datetime.now(UTC)) < timedelta(hours=1)
        set_by = 0.0
        await queue.clock.measure()
        assert queue.trouble() is None
        assert await queue.enqueue([fresh()]) == Committed()
    finally:
        await queue.close()
        await jetstream.close()


async def test_nothing_expires_once_the_last_comparison_is_old(server: NatsServer) -> None:
    waited_s = 0.0
    async with opened(server) as queue:
        clock = Clock(
            queue.shards[0].jetstream,
            queue.settings,
            lambda: time.time() + waited_s,
            lambda: time.monotonic() + waited_s,
        )
        assert not clock.may_expire()
        await clock.measure()
        assert clock.may_expire()
        waited_s = 61.0
        assert clock.trouble() is None
        assert not clock.may_expire()


async def test_without_monitoring_the_leader_is_asked(server: NatsServer) -> None:
    jetstream = await JetStream.connect(Nats(servers=(server.url,)), "test")
    settings = QueueSettings(allow_unsafe_durability=True, store_protected=True)
    queue = await Queue.open(jetstream, settings, wall=lambda: time.time() - 6 * DAYS)
    try:
        assert "518400 s behind" in str(queue.trouble())
    finally:
        await queue.close()
        await jetstream.close()
