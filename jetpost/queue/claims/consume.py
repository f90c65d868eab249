"""Where claims come from: the entries of one state, of every shard, as far as there is room for them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, NamedTuple, Self

from nats.aio.msg import Msg
from prometheus_client import Counter, Gauge

from jetpost.queue.claims.claim import Arrival, Claim, Settled
from jetpost.queue.claims.pull import LAST_ANSWER_S, ORDINARY_HEADER_BYTES, Pull
from jetpost.queue.model.entry import DomainToken
from jetpost.queue.model.names import consumer_name
from jetpost.queue.model.states import State
from jetpost.queue.model.unreadable import Unreadable
from jetpost.queue.provision.settings import QueueSettings
from jetpost.queue.storage.shard import Shard, read
from jetpost.tasks import end
from jetpost.telemetry.log import logger

CLAIMS = Gauge("jetpost_queue_claims", "Entries this process has claimed. Labels: `state`.", ["state"])
ALREADY_SETTLED = Counter(
    "jetpost_queue_already_settled_total",
    "Redelivered entries that were already settled. Labels: `by` is self or other.",
    ["by"],
)

_NOT_TO_US = b'-NAK {"delay": %d}' % int(LAST_ANSWER_S * 1e9)
_LATER = b'-NAK {"delay": %d}' % int(3600 * 1e9)
_IDLE_PARKED_S = 300
_TO_BEGIN_WITH = 1024
"""Bytes, over all shards: a pull that asks for less than an ordinary entry brings one all the same."""

log = logger(__name__)


class ByteBudget:
    """Bytes of claims that several consumers may hold together; when it gets tight, an equal share each."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: dict[Consumer, int] = {}

    def join(self, consumer: "Consumer") -> None:
        """One more to share with."""
        self._held.setdefault(consumer, 0)

    def leave(self, consumer: "Consumer") -> None:
        """One less; what it still holds is counted until it is released."""
        if not self._held.get(consumer):
            self._held.pop(consumer, None)

    def change(self, consumer: "Consumer", size: int) -> None:
        """`consumer` holds so much more, or less."""
        self._held[consumer] = self._held.get(consumer, 0) + size

    def room(self, consumer: "Consumer") -> int:
        """Bytes that are welcome. Who holds nothing may always begin: the others take what they release at once."""
        held = self._held.get(consumer, 0)
        left = self._most - sum(self._held.values())
        share = self._most // max(len(self._held), 1) - held
        return max(min(left, share), 0 if held else _TO_BEGIN_WITH)


class Shared(NamedTuple):
    """What the consumers of a process have in common."""

    settings: QueueSettings
    settled: Settled
    hold: Callable[[Shard, Unreadable], Awaitable[bool]]
    """Moves what cannot be read to `held`; False when that can never be stored."""
    is_paused: Callable[[], bool] = lambda: False
    """Whether nothing is to be taken: what became of it could not be written down, and it would be done again."""


class Consumer:
    """Claims of one state (and, for parked entries, one domain) from every shard, as an asynchronous iterator."""

    def __init__(
        self,
        shards: Iterable[Shard],
        shared: Shared,
        state: State,
        domain_token: DomainToken | None,
        *,
        max_claims: int,
        budget: ByteBudget,
    ) -> None:
        self.state = state
        self.domain_token = domain_token
        self._settings = shared.settings
        self._settled = shared.settled
        self._hold = shared.hold
        self._is_paused = shared.is_paused
        self._max_claims = max_claims
        self._budget = budget
        self._live: dict[tuple[int, int], Claim] = {}
        self._ready: asyncio.Queue[Claim | None] = asyncio.Queue()
        ordinary_bytes = shared.settings.inline_bytes + ORDINARY_HEADER_BYTES
        self._pulls = [Pull(self, shard, ordinary_bytes, shared.settings.ack_wait_s) for shard in shards]
        self._tasks: list[asyncio.Task[None]] = []
        self._stopped = False
        self._quiet = asyncio.Event()

    async def start(self) -> Self:
        """Begin to pull."""
        self._budget.join(self)
        self._pull()
        return self

    def _pull(self) -> None:
        self._tasks = [asyncio.create_task(pull.run(), name=f"pull {self.name}") for pull in self._pulls]

    @property
    def name(self) -> str:
        """The durable's name, shared by all processes."""
        return consumer_name(self.state.value, self.domain_token)

    @property
    def claims(self) -> list[Claim]:
        """What is claimed and not settled."""
        return list(self._live.values())

    async def exhausted(self) -> None:
        """Wait until nothing is claimed and a whole pull of every shard has found nothing."""
        while self._live or not all(pull.found_nothing for pull in self._pulls):
            self._quiet.clear()
            await self._quiet.wait()

    def look_quiet(self) -> None:
        """A pull ended or a claim was released: whoever waits for the end may look again."""
        self._quiet.set()

    def room(self) -> int:
        """How many more claims are welcome."""
        if self._stopped or self._is_paused() or self.room_bytes() == 0:
            return 0
        return max(self._max_claims - len(self._live), 0)

    def room_bytes(self) -> int:
        """Bytes that are welcome in one pull."""
        return self._budget.room(self) // len(self._pulls)

    def configuration(self, shard: Shard) -> dict[str, Any]:
        """The durable consumer's configuration."""
        configuration: dict[str, Any] = {
            "name": self.name,
            "durable_name": self.name,
            "ack_policy": "explicit",
            "ack_wait": int(self._settings.ack_wait_s * 1e9),
            "max_deliver": -1,
            "max_ack_pending": 100_000,
            "max_waiting": 512,
            "filter_subject": shard.states(self.state, self.domain_token),
        }
        if self.domain_token is not None:
            configuration["inactive_threshold"] = int(_IDLE_PARKED_S * 1e9)
        return configuration

    async def take(self, shard: Shard, message: Msg, suspect: int, asked: float) -> None:
        """One entry from the server: yield it, unless it was finished already.

        `suspect` is the stream's last sequence when this pull began. A server that was killed may have forgotten acks
        and deliveries of the last moments (its consumer state lags by some 0.1 s), so an entry up to there may be
        redelivered although settled, even when it says that it comes for the first time.

        `asked`: when the entry was asked for. It may have waited in the socket since then, while this process stood
        still.
        """
        metadata = message.metadata
        sequence, times = metadata.sequence.stream, metadata.num_delivered or 1
        position = (shard.number, sequence)
        if (held := self._live.get(position)) is not None:
            held.came_again(message.reply)
            return
        if position in self._settled:
            ALREADY_SETTLED.labels("self").inc()
            await shard.jetstream.tell(message.reply, b"+ACK")
            return
        found = read(message.subject, message.headers or {}, message.data, sequence, metadata.timestamp)
        if isinstance(found, Unreadable):
            if not await self._hold(shard, found):
                await shard.jetstream.tell(message.reply, _LATER)
            return
        entry = found.entry
        if (times > 1 or sequence <= suspect) and await shard.last(entry.key) > sequence:
            ALREADY_SETTLED.labels("other").inc()
            log.info("already settled by another process", queue_id=entry.queue_id, sequence=sequence)
            await shard.jetstream.tell(message.reply, b"+ACK")
            return
        claim = Claim(
            entry,
            sequence,
            Arrival(message, times, asked),
            shard=shard,
            consumer=self,
            patience_s=self._settings.ack_wait_s,
            # Before its first reconnect a process that has just started finds a backlog, no redelivered entries that
            # were settled.
            contested=times > 1 or (sequence <= suspect and shard.jetstream.generation > 0),
        )
        if self._stopped:
            # Not at once: our own pull, still open, would get it again and again.
            await shard.jetstream.tell(message.reply, _NOT_TO_US)
            return
        self._live[position] = claim
        self._budget.change(self, claim.size)
        CLAIMS.labels(self.state.value).inc()
        self._ready.put_nowait(claim)

    def release(self, claim: Claim) -> None:
        """The claim has ended; its room is free."""
        if self._live.pop((claim.shard.number, claim.sequence), None) is None:
            return
        self._budget.change(self, -claim.size)
        if self._stopped:
            self._budget.leave(self)
        CLAIMS.labels(self.state.value).dec()
        self.look_quiet()
        for pull in self._pulls:
            pull.room_changed()

    async def beat(self) -> None:
        """Tell the server that every claim is still being worked on."""
        for claim in self.claims:
            await claim.beat()

    async def ended(self) -> bool:
        """Ask for nothing more; True when nothing came on what had been asked. Otherwise pulling goes on.

        What comes is never given back here: its next delivery might find the next consumer just as far, time and again.
        """
        for pull in self._pulls:
            pull.leave()
        await asyncio.wait(self._tasks)
        if not self._live:
            return True
        for pull in self._pulls:
            pull.stay()
        self._pull()
        return False

    async def stop(self) -> None:
        """Stop pulling and NAK what was not yielded yet; ends the iteration at once. Claims yielded stay.

        Returns when nothing can come any more; what still comes goes back.
        """
        self._stopped = True
        self._budget.leave(self)
        for pull in self._pulls:
            pull.leave()
        while not self._ready.empty():
            claim = self._ready.get_nowait()
            if claim is not None:
                await claim.shard.jetstream.tell(claim.acknowledge_to, b"-NAK")
                self.release(claim)
        self._ready.put_nowait(None)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LAST_ANSWER_S)
        await end(self._tasks)

    def __aiter__(self) -> AsyncIterator[Claim]:
        return self

    async def __anext__(self) -> Claim:
        claim = await self._ready.get()
        if claim is None:
            self._ready.put_nowait(None)
            raise StopAsyncIteration
        return claim
