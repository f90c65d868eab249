"""Messages that may be stored although their client was told "later": found and kept, or removed; one of two survives.

A nats-server that cannot write answers nothing. What it was asked to store may be there all the same, as a whole or in
part, and more of it after its restart: it completes a batch that it had begun to write. The client submits the message
again, and both would be delivered. So the leader is asked for each key before the client is answered, and what is not
certain then is remembered and asked again until it is.

What ends a doubt is a write. A tombstone under the key, expected sequence 0, is either stored: then the entry is not
there, and its own expected sequence refuses it whenever it comes. Or it is refused: then the entry is there, and is
removed.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from prometheus_client import Counter, Gauge

from jetpost.jetstream.errors import Unreachable
from jetpost.queue.model.entry import Entry
from jetpost.queue.model.transition import fence
from jetpost.queue.storage.answer import Answer, Refused, Stored, Unavailable
from jetpost.queue.storage.commit import GroupCommit
from jetpost.queue.storage.shard import Shard
from jetpost.reason import reason_of
from jetpost.telemetry.log import logger

DOUBTS = Gauge("jetpost_queue_doubts", "Messages that may be stored although their client was told to retry.")
WITHDRAWN = Counter(
    "jetpost_queue_withdrawn_total",
    "Entries removed because they were stored although their client had been told to retry.",
)

_PATIENCE_S = 5.0
"""How long a client waits, beyond `queue.commit_timeout_s`, for certainty."""
_LOOK_S = 0.25
_AT_ONCE = 50
_MOST = 10_000
_TRIES = 3

log = logger(__name__)


class Doubt(NamedTuple):
    """The entries of one message, of which nobody knows whether they are stored."""

    number: int
    """The shard's."""
    queue_id: str
    keys: tuple[str, ...]


class Doubts:
    """The doubts of one process. They end with it: then the message may come twice, as after any 250 not heard."""

    def __init__(self, places: Sequence[tuple[Shard, GroupCommit]]) -> None:
        self._places = places
        self._open: deque[Doubt] = deque()

    async def settle(self, number: int, entries: Sequence[Entry], answer: Unavailable) -> Answer:
        """What became of the fresh `entries` of one message, whose commit was answered with a doubt.

        Stored: all are there, on disk. Unavailable without doubt: none is, nor will be. In doubt it is remembered.
        """
        doubt = Doubt(number, entries[0].queue_id, tuple(entry.key for entry in entries))
        try:
            async with asyncio.timeout(_PATIENCE_S):
                if await self._is_stored(doubt):
                    return Stored()
                await self._withdraw(doubt)
        except Exception as error:  # TimeoutError, Unreachable, ApiError; or a bug, after which nothing is certain
            log.info("commit result unknown", queue_id=doubt.queue_id, error=reason_of(error))
            self._remember(doubt)
            return answer
        return answer._replace(in_doubt=False)

    async def watch(self) -> None:
        """Settle what is remembered, for ever: at once when a server is back, otherwise when it takes mail again."""
        jetstream, generation = self._places[0][0].jetstream, 0
        while True:
            await asyncio.sleep(_LOOK_S)
            DOUBTS.set(len(self._open))
            is_back, generation = jetstream.generation != generation, jetstream.generation
            if self._open and jetstream.connected and (is_back or not any(each.trouble for _, each in self._places)):
                now = [self._open.popleft() for _ in range(min(len(self._open), _AT_ONCE))]
                await asyncio.gather(*(self._look_again(doubt) for doubt in now))

    async def _look_again(self, doubt: Doubt) -> None:
        try:
            await self._withdraw(doubt)
        except Exception as error:  # as above
            log.debug("commit result still unknown", queue_id=doubt.queue_id, error=reason_of(error))
            self._open.append(doubt)

    def _remember(self, doubt: Doubt) -> None:
        self._open.append(doubt)
        if len(self._open) > _MOST:
            log.warning("too many commits in doubt; possible duplicates", most=_MOST)
            self._open.popleft()
        DOUBTS.set(len(self._open))

    async def _is_stored(self, doubt: Doubt) -> bool:
        """Whether every entry is there and on disk.

        A server that cannot write shows what it has in memory alone. So something is written after the look: that it
        is acknowledged by the same life of the server shows that all before it is on disk, too.
        """
        shard, committer = self._places[doubt.number]
        generation = shard.jetstream.generation
        if not all(await asyncio.gather(*(shard.last(key) for key in doubt.keys))):
            return False
        return await committer.is_sound() and generation == shard.jetstream.generation

    async def _withdraw(self, doubt: Doubt) -> None:
        """See to it that none is there, or ever will be. Unreachable or ApiError when that is not certain yet."""
        tries = (self._withdraw_one(doubt, key) for key in doubt.keys)
        for failed in await asyncio.gather(*tries, return_exceptions=True):
            if failed is not None:
                raise failed

    async def _withdraw_one(self, doubt: Doubt, key: str) -> None:
        shard, committer = self._places[doubt.number]
        for _ in range(_TRIES):
            answer = await committer.commit((fence(shard, key),))
            if isinstance(answer, Stored):
                return
            if await shard.last(key):
                await shard.forget(key)
                WITHDRAWN.inc()
                log.warning("withdrawn", queue_id=doubt.queue_id, reason="its client was told to retry")
            if not isinstance(answer, Refused):
                break
        raise Unreachable(getattr(answer, "cause", "it comes again and again"))
