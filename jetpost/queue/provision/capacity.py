"""Whether the queue has room for more, watched without mail."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from prometheus_client import Gauge

from jetpost.jetstream.connection import JetStream
from jetpost.jetstream.errors import ApiError, Unreachable
from jetpost.mail.reply import Reply
from jetpost.queue.provision.monitoring import write_error
from jetpost.queue.provision.settings import QueueSettings
from jetpost.queue.provision.stream import CONTENT_STREAM
from jetpost.queue.storage.acks import Acks
from jetpost.queue.storage.answer import DISK_FULL, QUEUE_AWAY, Unavailable
from jetpost.queue.storage.commit import GroupCommit, sample
from jetpost.queue.storage.shard import Shard
from jetpost.reason import reason_of
from jetpost.telemetry.log import logger

WRITE_ERROR = Gauge(
    "jetpost_queue_write_error",
    "1 while no nats-server can store anything: it failed to write to its disk, and has not been restarted since. "
    "Labels: `reason` is disk_full or other.",
    ["reason"],
)
_REASONS = {full: WRITE_ERROR.labels("disk_full" if full else "other") for full in (True, False)}

_WATCH_S = 2.0
_SAMPLE_BYTES = 64 * 1024
"""Larger than most mail, so that it fits where mail does."""
_NO_SPACE = ("no space left", "quota exceeded")

log = logger(__name__)


class WriteError(NamedTuple):
    """Why nothing can be stored: every server that matters has failed to write, and goes on failing until restarted."""

    is_full: bool
    """Whether its disk was full; otherwise the disk is broken, or not writable."""
    said: str

    @property
    def reply(self) -> Reply:
        """For who wants to submit mail."""
        return DISK_FULL if self.is_full else QUEUE_AWAY

    def __str__(self) -> str:
        return f"{'disk full' if self.is_full else 'nats-server cannot write'}: {self.said}"


class Capacity:
    """What the streams hold, and whether they take more."""

    def __init__(
        self,
        jetstream: JetStream,
        settings: QueueSettings,
        shards: Sequence[Shard],
        committers: Sequence[GroupCommit],
        acks: Acks,
    ) -> None:
        self._jetstream = jetstream
        self._settings = settings
        self._pairs = list(zip(shards, committers, strict=True))
        self._acks = acks
        self._stored = 0
        self.write_error: WriteError | None = None
        """Why no server takes anything, or None."""

    @property
    def is_full(self) -> bool:
        """Whether `queue.max_bytes` is reached, by entries and large contents."""
        return 0 < self._settings.max_bytes <= self._stored

    @property
    def cannot_write(self) -> bool:
        """Whether no server that matters can store anything."""
        return self.write_error is not None

    async def watch(self) -> None:
        """Look now and then, for ever. Trouble that has passed ends here: nobody sends mail to who is not ready."""
        while True:
            # A lone server that cannot write goes on confirming acks, and forgets them when it is restarted.
            if self._settings.replicas == 1 or any(committer.trouble for _, committer in self._pairs):
                await self.look()
            try:
                self._stored = await self._bytes()
            except (Unreachable, ApiError) as error:
                for _, committer in self._pairs:
                    committer.trouble = reason_of(error)
            else:
                if self.write_error is None:
                    await asyncio.gather(*(_try(*pair) for pair in self._pairs if pair[1].trouble is not None))
            await asyncio.sleep(_WATCH_S)

    async def look(self) -> WriteError | None:
        """Ask the servers whether they can write. An error of one of several is none: the others take its part."""
        nats, begun = self._jetstream.settings, asyncio.get_running_loop().time()
        errors = await asyncio.gather(*(write_error(url.rstrip("/"), nats) for url in nats.monitoring))
        found = None
        if errors and all(errors):
            said = "; ".join(error for error in errors if error)
            found = WriteError(any(words in said for words in _NO_SPACE), said)
        if found is not None and self.write_error is None:
            log.error("queue cannot store anything", reason=str(found))
        elif found is None and self.write_error is not None:
            log.warning("nats-server can write again")
        self.write_error = found
        self._acks.looked(begun, can_write=found is None)
        for full, gauge in _REASONS.items():
            gauge.set(found is not None and found.is_full is full)
        return found

    async def explained(self, answer: Unavailable) -> Unavailable:
        """`answer` with the reason that the servers give, when they give one."""
        if answer.reply != QUEUE_AWAY or (error := await self.look()) is None:
            return answer
        return answer._replace(reply=error.reply, cause=str(error))

    async def _bytes(self) -> int:
        streams = [*(shard.stream for shard, _ in self._pairs), CONTENT_STREAM]
        return sum([int((await self._jetstream.api(f"STREAM.INFO.{name}"))["state"]["bytes"]) for name in streams])


async def _try(shard: Shard, committer: GroupCommit) -> None:
    """Store something that is soon gone.

    That a stream answers says little, as a full one does: the trouble stays until something was stored.
    """
    await committer.commit((sample(shard, _SAMPLE_BYTES),))
