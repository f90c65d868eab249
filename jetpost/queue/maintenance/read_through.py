"""Every message of the queue is read once a day, so a block that has gone bad is found before it is needed.

nats-server compares the checksum of a record when it reads it from its disk, and passes over a bad one without a word.
But it counts what lies behind a sequence without reading it. So the streams are read in order, and where fewer messages
come than were counted, some are damaged. What the server has in memory is not read from the disk, and where a stream
has replicas each page is read from one of them, which the servers draw.

One process at a time reads a little; how far it came is a note in WATCH. Killed: the next one goes on from the note.
"""

import asyncio
from contextlib import suppress
from typing import NamedTuple

import msgspec
from prometheus_client import Counter, Gauge

from jetpost.jetstream.connection import JetStream
from jetpost.jetstream.errors import ApiError, Unreachable
from jetpost.jetstream.pages import page
from jetpost.jetstream.streams import about
from jetpost.queue.integrity.board import Board
from jetpost.queue.provision.stream import CONTENT_STREAM
from jetpost.queue.queue import Queue
from jetpost.reason import reason_of
from jetpost.telemetry.log import logger

DAMAGED = Gauge(
    "jetpost_queue_damaged_messages",
    "Messages that the last read-through could not read from disk. Labels: `stream`.",
    ["stream"],
)
READ = Counter("jetpost_queue_read_through_bytes_total", "Bytes of queued messages that were read for their checksums.")
_NOTE = "read.through"
_LOOK_S = 10.0
_BATCH = 256
_LEAST_BYTES = 8 * 1024 * 1024
_PAGE_BYTES = 1024 * 1024
_SURE_OF_REPLICAS, _ROUNDS, _PAUSE_S = 2, 8, 0.5

log = logger(__name__)


class Progress(msgspec.Struct, frozen=True):
    """How far the reading came; stored as JSON."""

    stream: str = ""
    """Which stream is read; empty: all are, until the next day."""
    following: int = 1
    """The sequence that is read next."""
    upto: int = 0
    """The last one that the stream had when it was its turn."""
    damaged: dict[str, int] = {}
    """Damaged messages of each stream, in the last reading that came to its end."""
    found: int = 0
    """Those found so far in this stream."""


class Page(NamedTuple):
    """What one question brought."""

    first: int = 0
    """The first and the last sequence that came; 0: none."""
    last: int = 0
    messages: int = 0
    size: int = 0
    counted: int = 0
    """Messages from the start of the question on, in all, by the server's count."""


async def watch(queue: Queue, jetstream: JetStream, stopping: asyncio.Event) -> None:
    """Read a little now and then, until `stopping`."""
    reading = Reading(queue, jetstream)
    look_s = min(_LOOK_S, queue.settings.read_through_s / 10)
    while not stopping.is_set():
        try:
            await reading.turn(look_s)
        except (Unreachable, ApiError) as error:
            log.debug("read-through failed, will retry", error=reason_of(error))
        with suppress(TimeoutError):
            async with asyncio.timeout(look_s):
                await stopping.wait()


class Reading:
    """The reading of all streams, as far as this process takes part."""

    def __init__(self, queue: Queue, jetstream: JetStream) -> None:
        self._jetstream = jetstream
        self._board = Board(jetstream)
        self._every_s = queue.settings.read_through_s
        self._streams = [*(shard.stream for shard in queue.shards), CONTENT_STREAM]

    async def turn(self, look_s: float) -> Progress | None:
        """Read a little, when it is time and no other process does. Where that came to; None: nothing was read.

        Unreachable or ApiError: nobody can say.
        """
        note = await self._board.read(_NOTE)
        progress = _progress(note.value if note else {})
        for stream in self._streams:
            DAMAGED.labels(stream).set(progress.damaged.get(stream, 0))
        age_s = (await self._board.clock() - note.at).total_seconds() if note else self._every_s
        if age_s < (look_s if progress.stream else self._every_s):
            return None
        if not progress.stream:
            progress = await self._begun(self._streams[0], progress.damaged)
        # First the note, with its expected sequence: who is second reads nothing.
        if not await self._board.write(_NOTE, msgspec.to_builtins(progress), note):
            return None
        note = await self._board.read(_NOTE)
        read = await self._read(progress, look_s)
        return read if await self._board.write(_NOTE, msgspec.to_builtins(read), note) else None

    async def _read(self, progress: Progress, look_s: float) -> Progress:
        """From `progress` on, for as many bytes as it takes to be through in time; at most to the end of the stream."""
        stream = progress.stream
        answer = await about(self._jetstream, stream)
        state, replicas = answer["state"], int(answer["config"]["num_replicas"])
        left = max(_LEAST_BYTES, int(2 * int(state["bytes"]) * len(self._streams) * look_s / self._every_s))
        following, found = progress.following, progress.found
        while left > 0 and following <= progress.upto:
            read = await self._page(stream, following)
            READ.inc(read.size)
            left -= read.size
            end = read.last or progress.upto
            damaged = await self._damaged(stream, following, read, replicas)
            found += damaged
            if damaged:
                log.error("cannot read messages from disk", stream=stream, number=damaged, first=following, last=end)
            following = end + 1
        if following <= progress.upto:
            return msgspec.structs.replace(progress, following=following, found=found)
        return await self._next(stream, {**progress.damaged, stream: found})

    async def _next(self, stream: str, damaged: dict[str, int]) -> Progress:
        behind = self._streams[self._streams.index(stream) + 1 :] if stream in self._streams else []
        if behind:
            return await self._begun(behind[0], damaged)
        return Progress(damaged={name: count for name, count in damaged.items() if name in self._streams})

    async def _begun(self, stream: str, damaged: dict[str, int]) -> Progress:
        state = (await about(self._jetstream, stream))["state"]
        return Progress(stream, upto=int(state["last_seq"]), damaged=damaged)

    async def _damaged(self, stream: str, start: int, read: Page, replicas: int) -> int:
        """How many messages from `start` to the end of `read` cannot be read; of an empty page, all that are counted.

        Counts of different moments are compared, and of different replicas. So what differs is read and counted again
        until it was the same several times while the stream stood still; of one that never does nothing is said.
        """
        number = read.counted - read.messages - await self._behind(stream, read)
        if number <= 0:
            return 0
        needed, rounds = (_SURE_OF_REPLICAS, _ROUNDS) if replicas > 1 else (1, 1)
        same = 0
        for _ in range(rounds):
            if replicas > 1:  # one that lags behind has caught up by the end
                await asyncio.sleep(_PAUSE_S)
            again = await self._page(stream, start)
            if again.counted != read.counted:
                return 0
            same += again.counted - again.messages - await self._behind(stream, again) == number
        return number if same >= needed else 0

    async def _behind(self, stream: str, read: Page) -> int:
        """How many messages are counted behind the last one of `read`."""
        if not read.messages:
            return 0
        last = await self._page(stream, read.last, most=1)
        return last.counted - int(last.first == read.last)

    async def _page(self, stream: str, start: int, most: int = _BATCH) -> Page:
        """Read from `start` on. When nothing can be read what is counted is what the stream has from there on."""
        question = {"seq": start, "batch": most, "max_bytes": _PAGE_BYTES, "next_by_subj": ">"}
        read = Page()
        for message in await page(self._jetstream, stream, question):
            headers = message.headers or {}
            sequence = int(headers["Nats-Sequence"])
            read = Page(
                read.first or sequence,
                sequence,
                read.messages + 1,
                read.size + len(message.data),
                read.counted or int(headers["Nats-Num-Pending"]) + 1,
            )
        return read if read.messages else Page(counted=await self._left(stream, start))

    async def _left(self, stream: str, start: int) -> int:
        """How many messages are counted from `start` on, of which none can be read; 0 when nobody knows."""
        state = (await about(self._jetstream, stream))["state"]
        if start <= int(state["first_seq"]):
            return int(state["messages"])
        before = await self._page(stream, start - 1, most=1)
        return before.counted - 1 if before.first == start - 1 else 0


def _progress(value: dict[str, object]) -> Progress:
    """Where a note says that the reading is; one that cannot be read says that it begins."""
    try:
        return msgspec.convert(value, Progress)
    except msgspec.ValidationError:
        return Progress()
