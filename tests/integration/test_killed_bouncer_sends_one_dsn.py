"""However often the bouncer dies, the sender gets one DSN."""

import asyncio

from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.letters import LETTER


async def test_one_dsn_is_sent_though_the_bouncer_is_killed_again_and_again(
    make_system: MakeSystem, mx: MakeMx
) -> None:
    system = await make_system()
    await mx("refusing-all.test", replies={"RCPT": "550 5.1.1 nobody"})
    home = await mx("home-of-many.test")
    count = 200

    async def submit_all() -> None:
        async with system.submitting() as client:
            for number in range(count):
                reply = await client.transact(f"s{number}@home-of-many.test", [f"u{number}@refusing-all.test"], LETTER)
                assert reply.code == 250

    async with asyncio.TaskGroup() as tasks:
        submitting = tasks.create_task(submit_all())
        while not submitting.done():
            await system.bouncer.restart()

    await home.received_all(count)
    await system.empty()
    assert sorted(dsn.recipients[0] for dsn in home.messages) == sorted(
        f"s{number}@home-of-many.test" for number in range(count)
    )
