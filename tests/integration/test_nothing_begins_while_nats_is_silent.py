"""What a process attempts while no nats-server answers cannot be recorded: killed then, it would all be done again."""

import asyncio
import signal
from pathlib import Path

from jetpost.queue.claims.claim import Claim
from jetpost.queue.model.states import State
from jetpost.queue.queue import Queue
from tests.fixtures.eventually import eventually_asked
from tests.fixtures.nats import NatsServer
from tests.fixtures.queue import PLENTY, fresh, opened


async def test_an_attempt_begins_when_the_server_answers_again(tmp_path: Path) -> None:
    async with NatsServer(tmp_path) as server, opened(server, ack_wait_s=600) as queue:
        first, second = await _two_claims(queue)
        server.signal(signal.SIGSTOP)
        await queue.settle(first, [])

        asked: list[asyncio.Task[bool]] = []

        async def waits() -> bool:
            asked.append(asyncio.create_task(queue.is_open(second)))
            await asyncio.wait(asked[-1:], timeout=0.1)
            return not asked[-1].done()

        await eventually_asked(waits, "the second waits, as the end of the first was not heard")
        server.signal(signal.SIGCONT)

        assert await asked[-1]
        assert second.is_shared  # for all that this process knows


async def _two_claims(queue: Queue) -> tuple[Claim, Claim]:
    for entry in (fresh(), fresh()):
        await queue.enqueue([entry])
    consumer = await queue.consumer(State.READY, max_claims=10, max_bytes=PLENTY).start()
    return await anext(consumer), await anext(consumer)
