"""What was asked of a nats-server that died is in doubt at once, and may be asked again as soon as it is back."""

import asyncio
import signal
from pathlib import Path

import pytest

from jetpost.jetstream.connection import JetStream
from jetpost.jetstream.errors import Unreachable
from jetpost.jetstream.settings import Nats
from tests.fixtures.eventually import PATIENCE_S
from tests.fixtures.nats import NatsServer


async def test_no_answer_is_awaited_from_a_server_that_died(tmp_path: Path) -> None:
    async with NatsServer(tmp_path) as server:
        jetstream = await JetStream.connect(Nats(servers=(server.url,), request_timeout_s=100 * PATIENCE_S), "test")
        server.signal(signal.SIGSTOP)  # it takes the question, and does not answer
        asking = asyncio.create_task(jetstream.api("INFO"))
        await asyncio.sleep(0)

        await server.kill()

        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(Unreachable):
                await asking
        await server.start()
        await jetstream.close()
