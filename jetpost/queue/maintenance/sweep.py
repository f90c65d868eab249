"""The sweep of CONTENT: what no entry needs is removed, so nothing that a crash left behind stays for its age limit.

One process does it at a time, in turns. Each content is looked at twice, and what is decided about it is stored with an
expected last sequence (see `unneeded`). Killed after the mark, or after the condemnation: the next sweep goes on there.
Killed while it removes: the condemnation goes last, so the next sweep removes the rest.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import NamedTuple

from prometheus_client import Counter, Gauge

from jetpost.jetstream.connection import JetStream
from jetpost.jetstream.errors import ApiError, Unreachable
from jetpost.jetstream.kv import Message, last_message, store_after, time_of
from jetpost.jetstream.streams import about, stream_names
from jetpost.queue.content.large import CHUNK_BYTES
from jetpost.queue.content.unneeded import (
    CONDEMNED,
    MARK,
    Ages,
    Last,
    Step,
    by_content,
    content_bytes,
    keys_of,
    kind_of,
    lives,
    next_step,
)
from jetpost.queue.integrity.board import Board, is_our_turn
from jetpost.queue.provision.stream import CONTENT_STREAM
from jetpost.queue.queue import Queue
from jetpost.queue.storage.shard import Shard
from jetpost.reason import reason_of
from jetpost.telemetry.log import logger

REMOVED = Counter("jetpost_queue_content_removed_total", "Contents that the sweep removed: no entry needed them.")
REMOVED_BYTES = Counter("jetpost_queue_content_removed_bytes_total", "Bytes of the contents that the sweep removed.")
UNNEEDED = Gauge(
    "jetpost_queue_content_unneeded",
    "Contents without an entry that the last sweep of this process has seen and that wait for their age; 0: none.",
)
_Listed = tuple[str, list[str]]
"""A content and what is listed of it."""
_PAGE = 100_000
"""Subjects in one answer of STREAM.INFO."""
_ASKED_AT_A_TIME = 8
_LOOK_S = 60.0
"""How often a process looks whether it is its turn, at most."""
_BEFORE_A_PAUSE, _PAUSE_S = 200, 0.2
"""After so many contents the servers have a pause."""

log = logger(__name__)


class Swept(NamedTuple):
    """What one sweep did."""

    seen: int = 0
    removed: int = 0
    removed_bytes: int = 0
    waiting: int = 0
    """Without an entry, and not old enough or not seen twice."""


async def watch(queue: Queue, jetstream: JetStream, stopping: asyncio.Event) -> None:
    """Sweep when it is this process's turn, until `stopping`. Not while the queue is in trouble: then nobody knows."""
    every_s = queue.settings.sweep_s
    board = Board(jetstream)
    while not stopping.is_set():
        try:
            if queue.trouble() is None and await is_our_turn(board, "sweep", every_s):
                await Sweep(jetstream, queue).once()
        except (Unreachable, ApiError) as error:
            log.warning("content sweep failed, will retry", error=reason_of(error))
        with suppress(TimeoutError):
            async with asyncio.timeout(min(every_s / 2, _LOOK_S)):
                await stopping.wait()


class Sweep:
    """One sweep over all contents."""

    def __init__(self, jetstream: JetStream, queue: Queue) -> None:
        self._jetstream = jetstream
        self._queue = queue
        settings = queue.settings
        self._ages = Ages(timedelta(seconds=settings.sweep_age_s), timedelta(seconds=settings.sweep_s))

    async def once(self) -> Swept:
        """Look at every content once. Unreachable or ApiError: the rest waits for the next sweep."""
        shards = await every_shard(self._jetstream)
        done, rested_at = Swept(), 0
        async for contents in _pages(self._jetstream):
            for some in _groups(list(contents.items()), _ASKED_AT_A_TIME):
                found = await asyncio.gather(*(self._look(shards, one, listed) for one, listed in some))
                done = Swept(*(sum(column) for column in zip(done, *found, strict=True)))
                if done.seen - rested_at >= _BEFORE_A_PAUSE:
                    rested_at = done.seen
                    await asyncio.sleep(_PAUSE_S)
                if self._queue.trouble() is not None:
                    raise Unreachable("the queue is in trouble")
        UNNEEDED.set(done.waiting)
        if done.removed:
            log.info("content removed", **done._asdict())
        return done

    async def _look(self, shards: Sequence[Shard], content_id: str, listed: Sequence[str]) -> Swept:
        if not any(kind_of(subject) in (MARK, CONDEMNED) for subject in listed) and await is_needed(shards, listed):
            return Swept(seen=1)
        # From here on everything is asked in this order: what comes later than `last` is refused by the step's
        # sequence.
        everything = f"content.{content_id}.*.*"
        last = await last_message(self._jetstream, CONTENT_STREAM, everything)
        if last is None:
            return Swept(seen=1)
        answer = await about(self._jetstream, CONTENT_STREAM, everything)
        subjects = list(answer["state"].get("subjects") or {})
        kinds = frozenset(map(kind_of, subjects))
        needed = CONDEMNED not in kinds and await is_needed(shards, subjects)
        seen = Last(kind_of(last.subject), last.at)
        step = next_step(seen, kinds, time_of(answer["ts"]), self._ages, is_needed=needed)
        return await self._take(step, content_id, last, subjects) if step is not Step.KEEP else _kept(needed=needed)

    async def _take(self, step: Step, content_id: str, last: Message, subjects: Sequence[str]) -> Swept:
        if step is Step.UNMARK:
            await self._purge(f"content.{content_id}.{MARK}.*")
            return Swept(seen=1)
        if step is Step.MARK:
            await self._note(content_id, MARK, last.sequence)
            return _kept(needed=False)
        if step is Step.CONDEMN and not await self._note(content_id, CONDEMNED, last.sequence):
            return _kept(needed=False)
        return await self._remove(content_id, subjects)

    async def _note(self, content_id: str, kind: str, after: int) -> bool:
        return await store_after(
            self._jetstream, f"content.{content_id}.{kind}.sweep", b"", after, f"content.{content_id}.*.*"
        )

    async def _remove(self, content_id: str, subjects: Sequence[str]) -> Swept:
        """Remove what lies before the condemnation, then that: what is written after it stays."""
        condemned = await last_message(self._jetstream, CONTENT_STREAM, f"content.{content_id}.{CONDEMNED}.*")
        if condemned is None:
            return Swept(seen=1)
        chunks = sum(kind_of(subject) == "chunk" for subject in subjects)
        tail = await last_message(self._jetstream, CONTENT_STREAM, f"content.{content_id}.chunk.{chunks - 1}")
        size = content_bytes(chunks, 0 if tail is None else len(tail.payload), CHUNK_BYTES)
        await self._purge(f"content.{content_id}.*.*", condemned.sequence)
        await self._purge(condemned.subject)
        REMOVED.inc()
        REMOVED_BYTES.inc(size)
        return Swept(seen=1, removed=1, removed_bytes=size)

    async def _purge(self, subjects: str, before: int | None = None) -> None:
        question: dict[str, object] = {"filter": subjects}
        if before is not None:
            question["seq"] = before
        await self._jetstream.api(f"STREAM.PURGE.{CONTENT_STREAM}", question)


async def every_shard(jetstream: JetStream) -> list[Shard]:
    """Every shard that there is: one that another process was told of may be more than this one knows."""
    numbers = [
        0 if name == "MAIL" else int(name.removeprefix("MAIL-"))
        for name in await stream_names(jetstream)
        if name == "MAIL" or name.removeprefix("MAIL-").isdecimal()
    ]
    if not numbers:
        raise Unreachable("there is no stream of entries")
    return [Shard(number, jetstream) for number in sorted(numbers)]


async def is_needed(shards: Sequence[Shard], subjects: Iterable[str]) -> bool:
    """Whether one of a content's references names an entry that lies in one of the `shards`, as their leaders know."""
    for reference in subjects:
        if kind_of(reference) != "ref":
            continue
        keys = keys_of(reference)
        if not keys:
            return True  # nobody knows what it means, so nobody knows that it is over
        for key in keys:
            for shard in shards:
                answer = await about(shard.jetstream, shard.stream, shard.subject(key))
                if lives(answer["state"].get("subjects") or {}):
                    return True
    return False


async def _pages(jetstream: JetStream) -> AsyncIterator[dict[str, list[str]]]:
    """Every content with subjects of it. One whose subjects lie on two pages comes twice, which does no harm."""
    offset = 0
    while True:
        answer = await about(jetstream, CONTENT_STREAM, "content.*.*.*", offset)
        yield by_content(answer["state"].get("subjects") or {})
        offset += _PAGE
        if offset >= answer.get("total", 0):
            return


def _kept(*, needed: bool) -> Swept:
    return Swept(seen=1, waiting=int(not needed))


def _groups(items: Sequence[_Listed], size: int) -> Iterator[Sequence[_Listed]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
