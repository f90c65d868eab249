"""A copy of the queue outside of it, and the way back.

A backup is a tar archive, written and read as a stream: `jetpost-backup.json` (what it is), then pages of entries
(`entries/<n>.jsonl`, a line of JSON each), the chunks of large contents before the entries that need them
(`content/<content-id>/<n>`) and what is no readable entry (`unreadable/<n>.json`), then `end.json` (that it is whole).
Each member carries its digest.

It is taken beside the running services and in the order of the queue. What moves meanwhile comes again further back,
and then its later state counts. Restoring repeats nothing: what lies in the queue already is left as it is.
"""

import asyncio
import base64
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import BinaryIO, NamedTuple

from jetpost.jetstream.errors import Unreachable
from jetpost.mail.content import Reference
from jetpost.queue.content.large import ContentMissing, Writer
from jetpost.queue.model.entry import Entry, shard_of, stored_form
from jetpost.queue.model.unreadable import Unreadable
from jetpost.queue.operate import put_back
from jetpost.queue.queue import Queue
from jetpost.queue.storage.answer import Unavailable
from jetpost.queue.storage.shard import StoredEntry
from jetpost.reason import reason_of

FORMAT = 1
_HEAD, _END = "jetpost-backup.json", "end.json"
_DIGEST = "JETPOST.sha256"
_STRANGE = "this is no backup of a queue"
_PAGE_BYTES = 4 * 1024 * 1024
_AT_A_TIME = 200
"""Entries restored side by side: they share commits."""


class Unusable(ValueError):  # noqa: N818 — what it says is the whole message
    """Not a backup, one of a newer Jetpost, or one that is damaged or cut off."""


class Archive:
    """A backup that is being written to `file`; needs no seeking."""

    def __init__(self, file: BinaryIO) -> None:
        self._tar = tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT)  # noqa: SIM115 — closed by `finish`
        self._page = bytearray()
        self._pages = self._unreadable = 0
        self.entries = 0
        self._add(_HEAD, _json({"format": FORMAT, "made": datetime.now(UTC).isoformat()}))

    def entry(self, entry: Entry, *, again: bool = False) -> None:
        """Add an entry; `again` when an earlier state of it is in the archive already."""
        envelope, payload = entry.encode()
        line: dict[str, object] = {
            "subject": entry.subject,
            "envelope": envelope,
            "payload": base64.b64encode(payload).decode(),
        }
        if again:
            line["again"] = True
        self._page += _json(line) + b"\n"
        self.entries += not again
        if len(self._page) >= _PAGE_BYTES:
            self._turn()

    def unreadable(self, found: Unreadable) -> None:
        """Add what is no readable entry, as it is."""
        self._unreadable += 1
        self.entries += 1
        self._add(f"unreadable/{self._unreadable:08d}.json", _json(found.record()))

    def chunk(self, content_id: str, number: int, data: bytes) -> None:
        """Add a chunk of large content."""
        self._add(f"content/{content_id}/{number:08d}", data)

    def finish(self) -> None:
        """Nothing more comes: from now on the archive is whole."""
        self._turn()
        self._add(_END, _json({"entries": self.entries}))
        self._tar.close()

    def _turn(self) -> None:
        if self._page:
            self._pages += 1
            self._add(f"entries/{self._pages:08d}.jsonl", bytes(self._page))
            self._page.clear()

    def _add(self, name: str, data: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        member.mode = 0o600
        member.pax_headers = {_DIGEST: _digest(data)}
        self._tar.addfile(member, io.BytesIO(data))


async def back_up(queue: Queue, file: BinaryIO) -> int:
    """Write every live entry, with its content, to `file`; how many. Unreachable or ApiError: the queue is away."""
    archive = Archive(file)
    seen: set[str] = set()
    contents: dict[str, bool] = {}
    for shard in queue.shards:
        async for stored in shard.walk(shard.states()):
            if isinstance(stored, Unreadable):
                archive.unreadable(stored)
                continue
            entry = stored.entry
            if isinstance(entry.content, Reference):
                content_id = entry.content.content_id
                if content_id not in contents:
                    contents[content_id] = await _copy(queue, entry.content, archive)
                if not contents[content_id] and not await shard.last(entry.key):
                    continue  # ended since it was listed, and its content with it
            archive.entry(entry, again=entry.key in seen)
            seen.add(entry.key)
    archive.finish()
    return archive.entries


async def _copy(queue: Queue, content: Reference, archive: Archive) -> bool:
    number = 0
    try:
        async for chunk in queue.content.chunks(content):
            archive.chunk(content.content_id, number, chunk)
            number += 1
    except ContentMissing:
        return False
    return True


class Restored(NamedTuple):
    """What came of a restore."""

    entries: int
    there_already: int


async def restore(queue: Queue, file: BinaryIO) -> Restored:
    """Put every entry of the backup into the queue that is not there; repeatable.

    Unusable: the file is no whole backup; what came before its end is restored. Unreachable or ApiError: the queue is
    away or full.
    """
    restoring = _Restoring(queue)
    expected: int | None = None
    for name, data in _members(file):
        if name == _END:
            expected = int(json.loads(data)["entries"])
        elif name.startswith("content/"):
            await restoring.chunk(name.split("/")[1], data)
        elif name.startswith("entries/"):
            await restoring.page(data)
        elif name.startswith("unreadable/"):
            await restoring.unreadable(Unreadable.of(json.loads(data)))
    await restoring.finish()
    if expected is None:
        raise Unusable(f"the backup is cut off; {restoring.entries} entries of it are in the queue")
    return Restored(restoring.entries, restoring.there_already)


class _Restoring:
    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._written: set[str] = set()
        self._needed: set[str] = set()
        self._writing: tuple[str, Writer] | None = None
        self.entries = 0
        self.there_already = 0

    async def chunk(self, content_id: str, data: bytes) -> None:
        """Chunks of one content follow each other."""
        if self._writing is None or self._writing[0] != content_id:
            await self._end_content()
            await self._queue.content.reclaim(content_id)
            self._writing = content_id, self._queue.content.writer(content_id)
            self._written.add(content_id)
        await self._writing[1].write(data)

    async def page(self, data: bytes) -> None:
        await self._end_content()
        lines = [json.loads(line) for line in data.splitlines()]
        batch: list[Entry] = []
        for line in lines:
            entry = await self._read(line["subject"], line["envelope"], base64.b64decode(line["payload"]))
            if entry is None:
                continue
            if isinstance(entry.content, Reference):
                self._needed.add(entry.content.content_id)
            if line.get("again"):
                await self._put_all(batch)
                batch = []
                await self._replace(entry)
            else:
                batch.append(entry)
            if len(batch) >= _AT_A_TIME:
                await self._put_all(batch)
                batch = []
        await self._put_all(batch)

    async def unreadable(self, found: Unreadable) -> None:
        """Hold what is no readable entry, with its payload as it was."""
        if await put_back(self._queue, found):
            self.entries += 1
        else:
            self.there_already += 1

    async def _read(self, subject: str, record: str, payload: bytes) -> Entry | None:
        """An entry that another version wrote may be unreadable here: it is held."""
        try:
            return Entry.decode(subject, record, payload)
        except ValueError as error:
            headers, whole = stored_form(record, payload)
            await self.unreadable(Unreadable(reason_of(error), subject, 0, headers, whole, datetime.now(UTC)))
            return None

    async def finish(self) -> None:
        """Content that was copied while its last entry ended belongs to nobody."""
        await self._end_content()
        for content_id in self._written - self._needed:
            await self._queue.content.forget(content_id)

    async def _end_content(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            await writing[1].finish()

    async def _put_all(self, entries: list[Entry]) -> None:
        await asyncio.gather(*(self._put(entry) for entry in entries))

    async def _put(self, entry: Entry) -> None:
        shard = self._queue.shards[shard_of(entry.queue_id, len(self._queue.shards))]
        if await shard.last(entry.key):
            self.there_already += 1
            return
        content = entry.content
        whole = isinstance(content, Reference) and content.content_id in self._written
        answer = await self._queue.enqueue([entry], whole=whole, is_new=False)
        if isinstance(answer, Unavailable):
            raise Unreachable(answer.cause)
        self.entries += 1

    async def _replace(self, entry: Entry) -> None:
        """A later state of an entry that was put before; when somebody has taken it on since, theirs counts."""
        shard = self._queue.shards[shard_of(entry.queue_id, len(self._queue.shards))]
        found = await shard.latest(entry.key)
        if isinstance(found, StoredEntry):
            await self._queue.move(shard, found, [entry])


def _members(file: BinaryIO) -> Iterator[tuple[str, bytes]]:
    """The members in order, up to the end or to where the file is cut off. Unusable when they are none of ours."""
    try:
        tar = tarfile.open(fileobj=file, mode="r|*")  # noqa: SIM115 — it owns nothing
        head = tar.next()
    except tarfile.ReadError as error:
        raise Unusable(_STRANGE) from error
    if head is None or head.name != _HEAD:
        raise Unusable(_STRANGE)
    made = json.loads(_data(tar, head))["format"]
    if made > FORMAT:
        raise Unusable(f"the backup has format {made}, made by a newer Jetpost; this one reads {FORMAT}")
    try:
        while (member := tar.next()) is not None:
            yield member.name, _data(tar, member)
    except (tarfile.ReadError, EOFError):
        return


def _data(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    opened = tar.extractfile(member)
    data = opened.read() if opened else b""
    if member.pax_headers.get(_DIGEST) != _digest(data):
        raise Unusable(f"the backup is damaged at {member.name}; all before it is in the queue")
    return data


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _json(value: dict[str, object]) -> bytes:
    return json.dumps(value).encode()
