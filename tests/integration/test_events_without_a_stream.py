"""Where the stream of events cannot be made, mail goes on: the connection to NATS stands."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from jetpost.events.publish import Events, EventsSettings
from jetpost.events.record import Received
from jetpost.jetstream import connection
from jetpost.jetstream.connection import JetStream
from jetpost.jetstream.settings import Nats
from tests.fixtures.eventually import eventually
from tests.fixtures.nats import NatsServer


class Counting(Events):
    """Counts how often it tries."""

    tries = 0

    async def _publish(self, lines: bytes) -> None:
        self.tries += 1
        await super()._publish(lines)


async def test_a_server_without_room_for_events_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_DEAF_S", 0.1)
    async with NatsServer(tmp_path, limits="max_file: 100MB") as server:
        # Who knows one server has none to go to.
        servers = (server.url, server.url.replace("127.0.0.1", "localhost"))
        jetstream = await JetStream.connect(Nats(servers=servers), "test")
        events = Counting(jetstream, EventsSettings(flush_s=0.02), "delivery")
        events.begin()
        now, to = datetime.now(UTC), ("a@dest.test",)
        events.tell(Received(time=now, queue_id="id", domain="dest.test", reverse_path="", recipients=to, size=1))

        await eventually(lambda: events.tries >= 20, "it tries for longer than a server may be deaf")

        assert jetstream.connected
        assert jetstream.generation == 0
        await events.aclose()
        await jetstream.close()
