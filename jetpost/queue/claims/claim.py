"""A claim: an entry taken from the queue that stays ours until we say what became of it."""

import asyncio
from typing import NamedTuple, Protocol

from nats.aio.msg import Msg

from jetpost.queue.model.entry import Entry
from jetpost.queue.model.transition import follows_another
from jetpost.queue.storage.shard import Shard

_REMEMBERED = 200_000


class Holder(Protocol):
    """Who has room for claims: the consumer that took one."""

    def release(self, claim: "Claim") -> None:
        """The claim has ended."""


class Arrival(NamedTuple):
    """How an entry came to this process."""

    message: Msg
    times: int
    """How often the server has delivered it, this time included."""
    asked: float
    """When it was asked for, on the loop's clock: the server has not begun to count `ack_wait` before."""


class Claim:
    """One entry that is ours for now: settle it or return it (NAK).

    Contested when another process may have the entry as well: then both may be at it, and each must reckon with what
    the other makes of it. Shared when that is likely: the entry did not come for the first time, or the server may
    have lost sight of us since. A shared claim is contested.
    """

    __slots__ = (
        "_contested",
        "_generation",
        "_patience_s",
        "_seen",
        "_shared",
        "acknowledge_to",
        "consumer",
        "entry",
        "has_predecessor",
        "sequence",
        "shard",
        "size",
        "times_delivered",
    )

    def __init__(
        self,
        entry: Entry,
        sequence: int,
        arrival: Arrival,
        *,
        shard: Shard,
        consumer: Holder,
        patience_s: float,
        contested: bool,
    ) -> None:
        message = arrival.message
        self.entry = entry
        self.sequence = sequence
        self.times_delivered = arrival.times
        self.shard = shard
        self.consumer = consumer
        self.acknowledge_to = message.reply
        self.has_predecessor = entry.attempts > 0 or follows_another(message.headers or {})
        """Whether the entry took the place of an earlier one, which is there again when its ack was lost."""
        self.size = len(message.data) + sum(map(len, (message.headers or {}).values()))
        self._patience_s = patience_s
        """The server's, `ack_wait`."""
        self._contested = contested
        self._shared = arrival.times > 1
        self._generation = shard.jetstream.generation
        self._seen = arrival.asked
        """The server has not counted `ack_wait` from an earlier time."""

    @property
    def is_contested(self) -> bool:
        """Whether another process may have the entry as well."""
        self._look_back()
        return self._contested

    @property
    def is_shared(self) -> bool:
        """Whether it is likely that another process has, or had, the entry as well."""
        self._look_back()
        return self._shared

    @property
    def claims(self) -> int:
        """How often the entry was claimed, this time included, since it last came to an outcome."""
        return self.entry.claims + self.times_delivered

    def came_again(self, acknowledge_to: str) -> None:
        """The server gave us what we have already: it lost sight of us for a while, and others may have been asked."""
        self.acknowledge_to = acknowledge_to
        self.lost_sight()

    def lost_sight(self) -> None:
        """The server may have lost sight of us for a while, and have asked others."""
        self._contested = self._shared = True

    async def beat(self) -> None:
        """Tell the server that we are still at it."""
        self._look_back()
        if await self.shard.jetstream.tell(self.acknowledge_to, b"+WPI"):
            self._seen = asyncio.get_running_loop().time()

    def _look_back(self) -> None:
        """Whether signs of life have been missing: this process stood still, or its connection broke.

        What was written to a connection that broke may not have been heard. A beat comes every third of `ack_wait`, so
        one that is late does not count yet.
        """
        silence = asyncio.get_running_loop().time() - self._seen
        if silence > self._patience_s * 2 / 3 or self._generation != self.shard.jetstream.generation:
            self.lost_sight()


class Settled:
    """The sequences this process has settled lately: a redelivery of one is acknowledged again, never attempted."""

    def __init__(self) -> None:
        self._sequences: dict[tuple[int, int], None] = {}

    def add(self, shard: int, sequence: int) -> None:
        """Remember; the oldest are forgotten."""
        self._sequences[shard, sequence] = None
        if len(self._sequences) > _REMEMBERED:
            del self._sequences[next(iter(self._sequences))]

    def __contains__(self, place: tuple[int, int]) -> bool:
        return place in self._sequences
