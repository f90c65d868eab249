"""kill -9 at random moments under load, one kind of process at a time: each message has one fate, once."""

import random
from collections.abc import Callable, Sequence

import pytest

from tests.conftest import MakeSystem
from tests.crash.conftest import Told
from tests.crash.kills import KILLS
from tests.crash.load import Load
from tests.crash.mix import SETTINGS, Hosts
from tests.fixtures.nats import NatsServer
from tests.fixtures.process import Service
from tests.fixtures.system import System

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900), pytest.mark.asyncio(loop_scope="session")]

MESSAGES = 125 * KILLS
"""At least so many are accepted, most of them between the kills."""

COMMIT_S = 5

VICTIMS: dict[str, Callable[[System], Sequence[Service | NatsServer]]] = {
    "ingress": lambda system: system.ingress,
    "delivery": lambda system: system.delivery,
    "bouncer": lambda system: [system.bouncer],
    "nats-server": lambda system: system.servers,
}


@pytest.mark.parametrize("kind", VICTIMS)
async def test_what_got_a_250_arrives_or_is_bounced_exactly_once(
    make_system: MakeSystem, hosts: Hosts, kind: str, told: Told
) -> None:
    changes = {**SETTINGS, "queue.commit_timeout_s": COMMIT_S, "queue.sweep_age_s": 2 * COMMIT_S}
    system = await make_system(changes, delivery=2)
    async with Load(system, hosts) as load:
        for _ in range(KILLS):
            await load.progress(random.randint(40, 160))
            await load.kill(random.choice(VICTIMS[kind](system)))
        await load.reach(MESSAGES)
    result = await load.settled()
    told(f"{kind}: killed at random moments", result)
    assert not result.account.faults, str(result)
    assert not result.duplicates or kind != "bouncer"
    assert result.parked
    assert result.by_reference
