"""kill -9 of delivery under load while routes fail over, and mailbox servers leave in the middle of their replies."""

import random
from pathlib import Path

import pytest

from tests.conftest import MakeMx, MakeSystem
from tests.crash.conftest import Told
from tests.crash.kills import KILLS
from tests.crash.load import Load
from tests.crash.mix import SETTINGS
from tests.crash.routed import IDENTITIES, routed
from tests.crash.routed import SETTINGS as ROUTED
from tests.fixtures.message import Message
from tests.fixtures.mx import Mx
from tests.fixtures.zone import ServedZone

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900), pytest.mark.asyncio(loop_scope="session")]

COMMIT_S = 5


async def test_every_recipient_of_every_route_has_the_message_or_the_sender_one_dsn(
    make_system: MakeSystem, mx: MakeMx, names: ServedZone, told: Told, tmp_path: Path
) -> None:
    """No explanation is that a host left: it takes no message of which it has not said so."""
    async with routed(mx, names, tmp_path) as behind:
        settings = {
            "queue.commit_timeout_s": COMMIT_S,
            "queue.sweep_age_s": 2 * COMMIT_S,
            "delivery.routes": behind.routes,
        }
        system = await make_system({**SETTINGS, **ROUTED, **settings}, delivery=2)
        async with Load(system, behind.hosts) as load:
            for number in range(KILLS):
                await load.progress(random.randint(20, 60))
                await (behind.recover() if number % 2 else behind.fail())
                await load.progress(random.randint(20, 60))
                await load.kill(random.choice(system.delivery))
            if KILLS % 2:
                await behind.recover()
            await load.progress(100)
        result = await load.settled()

        told("delivery: killed at random moments, with routes that fail over", result)
        assert not result.account.faults, str(result)
        assert result.parked
        assert result.by_reference
        assert result.account.discarded
        assert all(host.messages for host in (behind.first, behind.second, behind.main, behind.spare, behind.box))
        assert any(key.startswith("DOT broken") for key in behind.box.script.said)
        assert all(host.heard["BDAT"] for host in (behind.first, behind.second, behind.box))
        assert mixed(behind.first) == mixed(behind.second) == []


def mixed(host: Mx) -> list[Message]:
    """What came to a smart host without TLS, or with the credentials of another route."""
    return [
        message
        for message in host.messages
        if not message.tls or message.identity != IDENTITIES[message.recipients[0].partition("@")[2]]
    ]
