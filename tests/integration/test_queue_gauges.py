"""What the gauges say of the queue: depth, age, and how long mail waits to be taken."""

from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.eventually import eventually_asked
from tests.fixtures.letters import LETTER
from tests.fixtures.process import Service


async def _shows(service: Service, metric: str, at_least: float) -> None:
    async def is_there() -> bool:
        return await service.metric(metric, state="ready") >= at_least

    await eventually_asked(is_there, f"{service.name} shows {metric} >= {at_least}")


async def test_mail_waits_while_nobody_takes_it_not_while_it_is_attempted(make_system: MakeSystem, mx: MakeMx) -> None:
    system = await make_system({"queue.ack_wait_s": 600, "delivery.drain_s": 0.5})
    (delivery,), bouncer = system.delivery, system.bouncer
    await mx("lingering.test", delays={"DOT": 3600.0})

    await system.submit("ann@home.test", ["bob@lingering.test"], LETTER)
    await _shows(bouncer, "jetpost_queue_depth", 1)
    await _shows(bouncer, "jetpost_queue_oldest_seconds", 2)
    assert await bouncer.metric("jetpost_queue_waiting_seconds", state="ready") == 0

    assert await delivery.stop() == 0
    await system.submit("ann@home.test", ["cy@lingering.test"], LETTER)
    await _shows(bouncer, "jetpost_queue_waiting_seconds", 2)
