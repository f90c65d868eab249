"""While JetStream is away the client hears so at once, and all heals by itself."""

from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.eventually import eventually_asked
from tests.fixtures.letters import LETTER
from tests.fixtures.process import Service


async def test_a_queue_that_is_away_means_451_and_unready_until_it_is_back(make_system: MakeSystem, mx: MakeMx) -> None:
    system = await make_system({"queue.commit_timeout_s": 1})
    dest = await mx("away.test")
    (nats,) = system.servers
    (ingress,) = system.ingress

    async with system.submitting() as client:
        await nats.kill()
        reply = await client.transact("ann@home.test", ["bob@away.test"], LETTER)
        assert (reply.code, str(reply.status)) == (451, "4.3.0")
        await _not_ready(ingress)

        await nats.start()
        for service in system.services:
            await service.ready()
        assert (await client.transact("ann@home.test", ["bob@away.test"], LETTER)).code == 250

    await dest.received("bob@away.test")
    await system.empty()
    assert len(dest.messages) == 1


async def test_a_full_queue_means_452(make_system: MakeSystem, mx: MakeMx) -> None:
    system = await make_system({"queue.max_bytes": 1000})
    dest = await mx("full.test", replies={"RCPT": "451 4.7.1 later"})
    await system.submit("ann@home.test", ["bob@full.test"], LETTER + b"x" * 900 + b"\r\n")
    await _not_ready(system.ingress[0])

    reply = await system.submit("ann@home.test", ["bob@full.test"], LETTER)

    assert (reply.code, str(reply.status)) == (452, "4.3.1")
    dest.script.replies.clear()
    await dest.received("bob@full.test")
    await system.ingress[0].ready()


async def _not_ready(service: Service) -> None:
    async def is_unready() -> bool:
        return not await service.is_ready()

    await eventually_asked(is_unready, f"{service.name} is not ready")
