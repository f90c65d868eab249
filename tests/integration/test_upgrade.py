"""What an earlier version left in the queue is delivered, reported and released by this one."""

import nats
import pytest
from nats.js.errors import Error as JetStreamError

from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.golden import stored, versions
from tests.fixtures.letters import LETTER


@pytest.mark.parametrize("version", versions())
async def test_a_queue_of_an_earlier_version_is_worked_off(make_system: MakeSystem, mx: MakeMx, version: str) -> None:
    system = await make_system()
    hosts = {name: await mx(f"golden-{name}.test") for name in ("ready", "parked", "retry", "held", "large")}
    author = await mx("author.golden.test")
    connected = await nats.connect(system.servers[0].url)
    try:
        # References and chunks first, as they were written.
        for message in sorted(stored(), key=lambda it: not it.subject.startswith("content.")):
            if message.version == version:
                await connected.jetstream().publish(message.subject, message.payload, headers=message.headers)
    except JetStreamError as error:
        raise AssertionError(f"{message.name}: {error}") from error
    finally:
        await connected.close()

    await system.queued("held")
    status, printed = await system.command("queue", "release", "--all")
    assert status == 0, printed

    for name, host in hosts.items():
        for local_part in ("Bob", "cy"):
            received = await host.received(f"{local_part}@golden-{name}.test")
            assert received.content.endswith(LETTER)
            assert b"ESMTPSA id 06h0golden" in received.content
    dsn = await author.received("Ann.Smith@author.golden.test")
    assert b"550 5.1.1 no such user" in dsn.content
    await system.empty()
