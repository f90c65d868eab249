"""Whether the queue has room for more, watched without mail."""

import asyncio
from collections.abc import Sequence

from jetpost.jetstream import ApiError, JetStream, Unreachable
from jetpost.queue.commit import GroupCommit, Publication
from jetpost.queue.shard import Shard
from jetpost.queue.states import State
from jetpost.queue.stream import CONTENT_STREAM

_WATCH_S = 2.0
_SAMPLE = bytes(64 * 1024)
"""Larger than most mail, so that it fits where mail does."""
_SAMPLE_TTL = "1s"


class Room:
    """What the streams hold, and whether they take more."""

    def __init__(
        self, jetstream: JetStream, shards: Sequence[Shard], committers: Sequence[GroupCommit], most: int
    ) -> None:
        self._jetstream = jetstream
        self._places = list(zip(shards, committers, strict=True))
        self._most = most
        self._stored = 0

    @property
    def is_full(self) -> bool:
        """Whether `queue.max_bytes` is reached, by entries and large contents."""
        return 0 < self._most <= self._stored

    async def watch(self) -> None:
        """Look now and then, for ever. Trouble that has passed ends here: nobody sends mail to who is not ready."""
        while True:
            try:
                self._stored = await self._bytes()
            except (Unreachable, ApiError) as error:
                for _, committer in self._places:
                    committer.trouble = str(error)
            else:
                await asyncio.gather(*(_try(*place) for place in self._places if place[1].trouble is not None))
            await asyncio.sleep(_WATCH_S)

    async def _bytes(self) -> int:
        streams = [*(shard.stream for shard, _ in self._places), CONTENT_STREAM]
        return sum([int((await self._jetstream.api(f"STREAM.INFO.{name}"))["state"]["bytes"]) for name in streams])


async def _try(shard: Shard, committer: GroupCommit) -> None:
    """Store something that is soon gone.

    That a stream answers says little, as a full one does: the trouble stays until something was stored.
    """
    sample = Publication(shard.subject(f"mail.{State.DONE.value}.room.sample"), {"Nats-TTL": _SAMPLE_TTL}, _SAMPLE)
    await committer.commit((sample,))
