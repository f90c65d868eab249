"""Content by reference: kept once, in chunks, beside the queue, however many entries refer to it.

Stream CONTENT: `content.<content-id>.chunk.<n>` are the bytes, `content.<content-id>.ref.<domain>-<queue-id>` says
that an entry needs them. References are a set and not a counter: adding or dropping one twice, as a repeated step
after a crash does, changes nothing. The last one dropped takes the chunks along. The sweep removes what a crash leaves.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import TypeVar

from jetpost.jetstream.connection import JetStream
from jetpost.jetstream.errors import ApiError, Unreachable, answer_of
from jetpost.jetstream.kv import last_payload, last_sequence
from jetpost.jetstream.streams import about
from jetpost.mail.content import Content, Inline, Reference
from jetpost.queue.content.unneeded import CONDEMNED, is_whole
from jetpost.queue.model.entry import Entry
from jetpost.queue.provision.stream import CONTENT_STREAM
from jetpost.queue.storage.shard import DEPOSED_S
from jetpost.tasks import end

T = TypeVar("T")

CHUNK_BYTES = 128 * 1024
_WINDOW = 4
"""Chunks on their way to the disk at the same time, for each message."""
_AGAIN_S = 0.2
_REFERENCES = 100
"""References on their way at the same time."""


class ContentMissing(Exception):  # noqa: N818 — a state of the world, named as one
    """The chunks that an entry refers to are not there."""


class LargeContent:
    """Writes, reads and forgets content by reference."""

    def __init__(self, jetstream: JetStream, *, write_s: float = 0, read_s: float = 0) -> None:
        """`write_s`, `read_s`: how long a chunk that could not be written or read is tried again."""
        self._jetstream = jetstream
        self._write_s = write_s
        self._read_s = read_s

    def writer(self, content_id: str) -> "Writer":
        """A writer for new content; `content_id` is the message's queue id."""
        return Writer(self._jetstream, content_id, self._write_s)

    async def chunks(self, content: Content) -> AsyncIterator[bytes]:
        """The bytes in order, a chunk at a time; the next is fetched while one is used.

        ContentMissing when a chunk is not there, Unreachable when JetStream does not answer.
        """
        if isinstance(content, Inline):
            yield content.data
            return
        count = -(-content.size // CHUNK_BYTES)
        following: asyncio.Task[bytes] | None = None
        try:
            for number in range(count):
                chunk = await (following or asyncio.create_task(self._chunk(content.content_id, number)))
                following = None
                if number + 1 < count:
                    following = asyncio.create_task(self._chunk(content.content_id, number + 1))
                yield chunk
        finally:
            if following is not None:
                await end([following])

    async def refer(self, entries: Iterable[Entry]) -> None:
        """Say that `entries` need their content. Unreachable or ApiError when that could not be stored."""
        subjects = [_ref(entry, entry.content) for entry in entries if isinstance(entry.content, Reference)]
        while subjects:
            now, subjects = subjects[:_REFERENCES], subjects[_REFERENCES:]
            await asyncio.gather(*(_put(self._jetstream, subject, b"1", self._write_s) for subject in now))

    async def hold(self, entries: Iterable[Entry]) -> None:
        """As `refer`, for content that nobody has referred to yet: Unreachable also when it is not whole any more.

        The sweep condemns a content only if no reference was added since it looked, so who finds it whole after having
        added one keeps it.
        """
        entries = [entry for entry in entries if isinstance(entry.content, Reference)]
        if not entries:
            return
        await self.refer(entries)
        await _patiently(lambda: self._insist_on_whole(entries), self._write_s)

    async def _insist_on_whole(self, entries: list[Entry]) -> None:
        for content in {entry.content for entry in entries if isinstance(entry.content, Reference)}:
            answer = await about(self._jetstream, CONTENT_STREAM, f"content.{content.content_id}.*.*")
            if not is_whole(answer["state"].get("subjects") or {}, -(-content.size // CHUNK_BYTES)):
                raise Unreachable(f"the content of {content.content_id} is not whole any more")

    async def drop(self, entry: Entry) -> None:
        """`entry` has ended: forget its reference, and the chunks when it was the last one."""
        if not isinstance(entry.content, Reference):
            return
        await self._purge(_ref(entry, entry.content))
        # Not of a replica: one that lags behind would say that nobody needs what somebody has just begun to refer to.
        if not await last_sequence(self._jetstream, CONTENT_STREAM, f"content.{entry.content.content_id}.ref.*"):
            await self._purge(f"content.{entry.content.content_id}.*.*")

    async def reclaim(self, content_id: str) -> None:
        """The content is about to be written anew, for a restore: what the sweep has condemned of it goes before."""
        if await last_sequence(self._jetstream, CONTENT_STREAM, f"content.{content_id}.{CONDEMNED}.*"):
            await self.forget(content_id)

    async def forget(self, content_id: str) -> None:
        """Remove chunks that no entry ever referred to."""
        await self._purge(f"content.{content_id}.*.*")

    async def _purge(self, subjects: str) -> None:
        await self._jetstream.api(f"STREAM.PURGE.{CONTENT_STREAM}", {"filter": subjects})

    async def _direct(self, question: dict[str, str]) -> bytes | None:
        message = await self._jetstream.request(f"$JS.API.DIRECT.GET.{CONTENT_STREAM}", json.dumps(question).encode())
        return None if "Status" in (message.headers or {}) else message.data

    async def _chunk(self, content_id: str, number: int) -> bytes:
        """A chunk; asked for again for a while: a message that is given up now waits for minutes."""
        return await _patiently(lambda: self._chunk_now(content_id, number), self._read_s)

    async def _chunk_now(self, content_id: str, number: int) -> bytes:
        subject = f"content.{content_id}.chunk.{number}"
        chunk = await self._direct({"last_by_subj": subject})
        if chunk is None:  # says a replica, which may lag behind
            chunk = await last_payload(self._jetstream, CONTENT_STREAM, subject)
        if chunk is None:  # says a leader, which may be none any more
            await asyncio.sleep(DEPOSED_S)
            chunk = await last_payload(self._jetstream, CONTENT_STREAM, subject)
        if chunk is None:
            raise ContentMissing(f"chunk {number} of {content_id} is gone")
        return chunk


class Writer:
    """Streams one message's content into chunks; holds at most a few of them in memory."""

    def __init__(self, jetstream: JetStream, content_id: str, patience_s: float) -> None:
        self._jetstream = jetstream
        self._patience_s = patience_s
        self._content_id = content_id
        self._buffer = bytearray()
        self._number = 0
        self._size = 0
        self._sending: set[asyncio.Task[None]] = set()

    @property
    def held_bytes(self) -> int:
        """What is in memory: the beginning of the next chunk, and chunks on their way."""
        return len(self._buffer) + CHUNK_BYTES * sum(not sending.done() for sending in self._sending)

    async def write(self, data: bytes) -> None:
        """Add bytes; waits while too many chunks are on their way. Unreachable or ApiError when a chunk failed."""
        self._buffer += data
        self._size += len(data)
        while len(self._buffer) >= CHUNK_BYTES:
            await self._send(bytes(self._buffer[:CHUNK_BYTES]))
            del self._buffer[:CHUNK_BYTES]

    async def finish(self) -> Reference:
        """Wait until every chunk is on disk. Unreachable or ApiError when one is not."""
        if self._buffer:
            await self._send(bytes(self._buffer))
            self._buffer.clear()
        await asyncio.gather(*self._sending)
        return Reference(self._content_id, self._size)

    async def abandon(self) -> None:
        """The message will not be accepted: remove what was written, as well as that goes."""
        await end(self._sending)
        try:
            await LargeContent(self._jetstream).forget(self._content_id)
        except (Unreachable, ApiError):
            return  # the sweep takes them

    async def _send(self, chunk: bytes) -> None:
        while len(self._sending) >= _WINDOW:
            done, self._sending = await asyncio.wait(self._sending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        subject = f"content.{self._content_id}.chunk.{self._number}"
        self._number += 1
        self._sending.add(asyncio.create_task(_put(self._jetstream, subject, chunk, self._patience_s)))


async def _put(jetstream: JetStream, subject: str, payload: bytes, patience_s: float) -> None:
    """Store what may be stored twice. Unreachable or ApiError when that fails, also when tried for `patience_s`."""

    async def put() -> None:
        answer_of((await jetstream.request(subject, payload)).data)

    await _patiently(put, patience_s)


async def _patiently(act: Callable[[], Awaitable[T]], patience_s: float) -> T:
    """What `act` comes to; Unreachable or ApiError when it fails time and again for `patience_s`."""
    give_up = asyncio.get_running_loop().time() + patience_s
    while True:
        try:
            return await act()
        except (Unreachable, ApiError):
            if asyncio.get_running_loop().time() >= give_up:
                raise
        await asyncio.sleep(_AGAIN_S)


def _ref(entry: Entry, content: Reference) -> str:
    return f"content.{content.content_id}.ref.{entry.domain_token}-{entry.queue_id}"
