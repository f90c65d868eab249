"""Who follows events reads each once, in order, and has the messages of one pull in memory, however slow it is."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from jetpost.events.follow import MOST_A_PULL, follow
from jetpost.events.publish import STREAM, EventsSettings, provision
from jetpost.events.record import Event, Received, encode
from jetpost.jetstream.connection import JetStream
from jetpost.jetstream.errors import ApiError, Unreachable
from jetpost.jetstream.settings import Nats
from tests.fixtures.eventually import PATIENCE_S, eventually_asked
from tests.fixtures.nats import NatsServer

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
MANY = 10 * MOST_A_PULL


class Stream:
    """A stream of events, written by one connection and followed by another."""

    def __init__(self, server: NatsServer, writer: JetStream, reader: JetStream) -> None:
        self.server = server
        self.writer = writer
        self.reader = reader
        self._numbers = itertools.count()

    async def publish(self, count: int) -> None:
        """So many messages with an event each; their queue ids are 0, 1, 2 and so on."""
        for number in itertools.islice(self._numbers, count):
            to = ("ann@dest.test",)
            event = Received(
                time=datetime.now(UTC), queue_id=str(number), domain="", reverse_path="", recipients=to, size=1
            )
            await self.writer.request("events.test", encode(event))

    async def consumers(self) -> list[dict[str, Any]]:
        answer: list[dict[str, Any]] = (await self.writer.api(f"CONSUMER.LIST.{STREAM}"))["consumers"]
        return answer

    async def asked(self) -> None:
        """Wait until a pull is open."""

        async def is_open() -> bool:
            return any(consumer["num_waiting"] for consumer in await self.consumers())

        await eventually_asked(is_open, "the reader asks for events")

    async def delete_consumers(self) -> None:
        for consumer in await self.consumers():
            await self.writer.api(f"CONSUMER.DELETE.{STREAM}.{consumer['name']}")

    async def steal(self) -> None:
        """Take what the consumer would deliver next."""
        (consumer,) = await self.consumers()
        inbox = await self.writer.nc.subscribe("thief")
        await self.writer.nc.publish(f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{consumer['name']}", reply="thief")
        await inbox.next_msg(PATIENCE_S)

    async def reconnect(self) -> None:
        await self.reader.nc.force_reconnect()

    async def restart(self) -> None:
        await self.server.restart()

        async def is_back() -> bool:
            try:
                return bool(await self.writer.api(f"STREAM.INFO.{STREAM}"))
            except (Unreachable, ApiError):
                return False

        await eventually_asked(is_back, "the stream is back")

    async def make_again(self) -> None:
        await self.writer.api(f"STREAM.DELETE.{STREAM}")
        await provision(self.writer, EventsSettings())


@pytest.fixture
async def stream(tmp_path: Path) -> AsyncIterator[Stream]:
    async with NatsServer(tmp_path) as server, connected(server) as writer, connected(server) as reader:
        await provision(writer, EventsSettings())
        yield Stream(server, writer, reader)


@asynccontextmanager
async def connected(server: NatsServer) -> AsyncIterator[JetStream]:
    jetstream = await JetStream.connect(Nats(servers=(server.url,)), "test")
    yield jetstream
    await jetstream.close()


async def read(events: AsyncIterator[Event], count: int) -> list[int]:
    """The numbers of the next events."""
    async with asyncio.timeout(PATIENCE_S):
        return [int((await anext(events)).queue_id) for _ in range(count)]


async def test_a_slow_reader_has_one_pull_in_memory_and_misses_nothing(stream: Stream) -> None:
    await stream.publish(MANY)
    events = follow(stream.reader, LONG_AGO)
    assert await read(events, 1) == [0]

    await stream.publish(MANY)  # the reader reads nothing meanwhile

    (consumer,) = await stream.consumers()
    assert 1 <= consumer["delivered"]["consumer_seq"] <= MOST_A_PULL
    assert await read(events, 2 * MANY - 1) == list(range(1, 2 * MANY))


async def test_what_came_before_is_not_told_unless_a_time_is_named(stream: Stream) -> None:
    await stream.publish(3)
    reading = asyncio.create_task(read(follow(stream.reader), 2))
    await stream.asked()

    await stream.publish(2)

    assert await reading == [3, 4]
    assert await read(follow(stream.reader, LONG_AGO), 5) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("fault", [Stream.delete_consumers, Stream.reconnect, Stream.restart])
async def test_each_event_is_told_once_after_a_fault(stream: Stream, fault: Any) -> None:
    await stream.publish(3)
    events = follow(stream.reader)
    reading = asyncio.create_task(read(events, 1))
    await stream.asked()

    await fault(stream)  # before the first event
    await stream.publish(2 * MOST_A_PULL)
    assert await reading == [3]
    await fault(stream)  # in the middle of a pull
    assert await read(events, 2 * MOST_A_PULL - 1) == list(range(4, 2 * MOST_A_PULL + 3))


async def test_events_that_were_lost_on_their_way_are_told(stream: Stream) -> None:
    await stream.publish(MOST_A_PULL + 2)
    events = follow(stream.reader, LONG_AGO)
    assert await read(events, MOST_A_PULL) == list(range(MOST_A_PULL))  # no pull is open now

    await stream.steal()

    assert await read(events, 2) == [MOST_A_PULL, MOST_A_PULL + 1]


async def test_events_that_the_stream_dropped_are_logged_and_the_reader_goes_on(stream: Stream) -> None:
    await stream.publish(2 * MOST_A_PULL)
    events = follow(stream.reader, LONG_AGO)
    assert await read(events, 1) == [0]
    await stream.writer.api(f"STREAM.PURGE.{STREAM}", {"keep": 10})

    with capture_logs() as logs:
        rest = await read(events, MOST_A_PULL - 1 + 10)

    assert rest == [*range(1, MOST_A_PULL), *range(2 * MOST_A_PULL - 10, 2 * MOST_A_PULL)]
    dropped = [line["messages"] for line in logs if line["event"] == "events dropped before they were read"]
    assert dropped == [MOST_A_PULL - 10]


async def test_a_stream_that_was_made_again_is_read_from_its_beginning(stream: Stream) -> None:
    await stream.publish(5)
    events = follow(stream.reader, LONG_AGO)
    assert await read(events, 5) == [0, 1, 2, 3, 4]
    await stream.make_again()

    await stream.publish(2)

    assert await read(events, 2) == [5, 6]


async def test_without_a_stream_it_says_so(stream: Stream) -> None:
    await stream.writer.api(f"STREAM.DELETE.{STREAM}")

    with pytest.raises(ApiError, match="stream not found"):
        await read(follow(stream.reader), 1)
