"""Group commit: what arrives while one commit is on its way rides in the next one.

JetStream fsyncs once for each atomic batch, so the cost of durability is shared by everything in it. A unit (all
entries of one acceptance, or all successors of one transition) is stored whole or not at all.

A batch has a fixed cost (3 to 5 ms where a lone server stages it in synced files, a third of that in memory) and a
plain publish one of 0.8 ms: a unit of one message that comes alone goes as a plain publish, which is as atomic and as
durable. Plain publishes for several units at a time were tried and are slower: each costs an fsync of its own.

Sessions that were answered together come back together, so a batch waits a moment for as many units as the last one
had, and one more. That takes a quarter off nats-server's processor time for a message and leaves the rate as it is. A
unit that comes alone waits for nobody.
"""

import asyncio
import contextlib
import itertools
import time
from collections import deque
from typing import NamedTuple

from nats.nuid import NUID
from prometheus_client import Counter, Histogram

from jetpost.jetstream.errors import ApiError, ErrorNumber, Unreachable, answer_of
from jetpost.queue.model.publication import Publication
from jetpost.queue.storage.answer import (
    BAD_REQUEST,
    CONFLICTS,
    IN_A_MOMENT,
    NO_ROOM,
    QUEUE_AWAY,
    QUEUE_FULL,
    Answer,
    Impossible,
    Refused,
    Stored,
    Unavailable,
    is_impossible,
)
from jetpost.queue.storage.shard import Shard
from jetpost.reason import reason_of

BATCH_ENTRIES = Histogram(
    "jetpost_queue_commit_batch_entries",
    "Entries in one atomic batch.",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
)
COMMIT_SECONDS = Histogram(
    "jetpost_queue_commit_seconds",
    "Time from the first byte of an atomic batch to its acknowledgement after fsync.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)
COMMITS = Counter(
    "jetpost_queue_commits_total",
    "Atomic batches by result. Labels: `result` is stored, refused, impossible, repeated, full or unreachable.",
    ["result"],
)

_GATHER_S = 0.002
_MOST_MESSAGES = 1000
_MOST_BYTES = 4 * 1024 * 1024
_MOST_HEADER_BYTES = 65_000
"""nats-server takes 65 535, in which it counts its own line and those of a batch."""
_SERVER_ERROR = 500
_SOUND_S = 2.0
_MARGIN_BYTES = 1024
"""For the lines of a batch, and the server's own."""
_nuid = NUID()


class _Unit(NamedTuple):
    publications: tuple[Publication, ...]
    size: int
    answer: asyncio.Future[Answer]
    deadline: float


def sample(shard: Shard, size: int) -> Publication:
    """Something that is soon gone again: that it is stored shows that the stream takes what is written."""
    return Publication(shard.subject("mail.done.room.sample"), {"Nats-TTL": "1s"}, bytes(size))


class GroupCommit:
    """The committer of one shard: one batch in flight, the rest waits for the next."""

    def __init__(self, shard: Shard, timeout_s: float, *, is_lone: bool = True) -> None:
        """`is_lone`: whether one server keeps the stream, and no other can take over when it has no room."""
        self._shard = shard
        self._is_lone = is_lone
        self._is_full = False
        self._timeout_s = timeout_s
        self._waiting: deque[_Unit] = deque()
        self._enough = 1
        self._wake = asyncio.Event()
        """Set when there are enough units for a batch."""
        self.trouble: str | None = None
        """Why the last batch was not stored, or None."""

    async def commit(self, publications: tuple[Publication, ...]) -> Answer:
        """Store the unit. Answers within the time-out; `Unavailable.in_doubt`: it may or may not be stored."""
        loop = asyncio.get_running_loop()
        size = 0
        for publication in publications:
            header_bytes = publication.header_bytes
            size += header_bytes + len(publication.payload)
            if (impossible := self._too_large(header_bytes, len(publication.payload))) is not None:
                COMMITS.labels("impossible").inc()
                return impossible
        unit = _Unit(publications, size, loop.create_future(), loop.time() + self._timeout_s)
        self._waiting.append(unit)
        if len(self._waiting) >= self._enough:
            self._wake.set()
        return await unit.answer

    async def run(self) -> None:
        """Commit what waits, batch after batch, until cancelled."""
        while True:
            await self._gather()
            units = self._take()
            self._enough = len(units) + 1 if len(units) > 1 else 1
            answer = await self._store(units)
            if isinstance(answer, Refused | Impossible) and len(units) > 1:
                # One wrong expectation, or one bad unit, refuses the whole batch: let each unit find out for itself.
                await self._one_by_one(units)
                continue
            for unit in units:
                _tell(unit, answer)

    async def _gather(self) -> None:
        """Wait until there are enough units, or after a moment for any."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GATHER_S):
                await self._come(self._enough)
        await self._come(1)

    async def _come(self, enough: int) -> None:
        self._enough = enough
        while len(self._waiting) < enough:
            self._wake.clear()
            await self._wake.wait()

    async def _one_by_one(self, units: list[_Unit]) -> None:
        """Store each unit for itself, all at the same time."""
        answers = await asyncio.gather(*(self._store([unit]) for unit in units))
        for unit, answer in zip(units, answers, strict=True):
            # An earlier try of all of them may have been in doubt.
            _tell(unit, answer._replace(in_doubt=True) if isinstance(answer, Unavailable) else answer)

    def _too_large(self, header_bytes: int, payload_bytes: int) -> Impossible | None:
        """Why such a message can never be stored. Asked before: the server closes the connection of who sends it."""
        most = self._shard.jetstream.nc.max_payload
        if header_bytes > _MOST_HEADER_BYTES:
            return Impossible(f"its headers have {header_bytes} bytes, nats-server takes {_MOST_HEADER_BYTES}")
        if header_bytes + _MARGIN_BYTES + payload_bytes > most:
            return Impossible(f"it has {header_bytes + payload_bytes} bytes, max_payload of nats-server is {most}")
        return None

    def _take(self) -> list[_Unit]:
        units: list[_Unit] = []
        messages = size = 0
        while self._waiting:
            first = self._waiting[0]
            messages += len(first.publications)
            size += first.size
            if units and (messages > _MOST_MESSAGES or size > _MOST_BYTES):
                break
            units.append(self._waiting.popleft())
        return units

    async def _store(self, units: list[_Unit]) -> Answer:
        """Send one batch, again and again while in doubt, until it is answered or the first deadline passes."""
        loop = asyncio.get_running_loop()
        deadline = units[0].deadline
        publications = list(itertools.chain.from_iterable(unit.publications for unit in units))
        in_doubt = False
        BATCH_ENTRIES.observe(len(publications))
        while True:
            generation = self._shard.jetstream.generation
            try:
                begun = time.perf_counter()
                await self._send(publications, max(deadline - loop.time(), 0.1))
                COMMIT_SECONDS.observe(time.perf_counter() - begun)
                COMMITS.labels("stored").inc()
                self.trouble, self._is_full = None, False
                return Stored()
            except ApiError as error:
                answer = await self._answer_to(error, generation, deadline, in_doubt=in_doubt, alone=len(units) == 1)
                if answer is not None:
                    return answer
                failed = error.code >= _SERVER_ERROR and error.err_code not in NO_ROOM
                in_doubt = in_doubt or failed or error.err_code in CONFLICTS
            except (ValueError, TypeError) as error:  # of a subject or a header that no protocol line can hold
                COMMITS.labels("impossible").inc()
                return Impossible(f"{type(error).__name__}: {reason_of(error)}")
            except Exception as error:
                # Unreachable, an error of NATS or of the socket; or a bug, which must not end all commits.
                in_doubt = True
                self.trouble = reason_of(error)
            if loop.time() >= deadline:
                COMMITS.labels("unreachable").inc()
                return Unavailable(QUEUE_AWAY, self.trouble or "the stream is busy", in_doubt)
            COMMITS.labels("repeated").inc()
            await asyncio.sleep(0.05)

    async def _answer_to(
        self, error: ApiError, generation: int, deadline: float, *, in_doubt: bool, alone: bool
    ) -> Refused | Unavailable | Impossible | None:
        """What the refusal of a batch comes to; None: it is to be sent again. `generation`: when it was sent."""
        if error.err_code in CONFLICTS:
            # A server that cannot write refuses what it has in memory alone: that it still writes is to be seen first.
            doubtful = in_doubt or self.trouble is not None
            if doubtful and not (await self.is_sound() and generation == self._shard.jetstream.generation):
                return None
            COMMITS.labels("refused").inc()
            return Refused()
        if error.err_code in NO_ROOM:
            if not (self._is_lone or self._is_full or asyncio.get_running_loop().time() >= deadline):
                return None  # it steps down, and another server may have room
            self._is_full = True
            COMMITS.labels("full").inc()
            self.trouble = f"queue full: {reason_of(error)}"
            return Unavailable(QUEUE_FULL, reason_of(error), in_doubt or error.err_code == ErrorNumber.STORE_FAILED)
        if is_impossible(error, alone=alone):
            COMMITS.labels("impossible").inc()
            return Impossible(reason_of(error))
        if error.err_code not in IN_A_MOMENT:
            self.trouble = reason_of(error)
        return None

    async def is_sound(self) -> bool:
        """Whether the stream takes a write now; it then has on disk what it showed before."""
        try:
            await self._send([sample(self._shard, 1)], _SOUND_S)
        except Exception as error:  # ApiError, Unreachable, an error of the socket
            self.trouble = reason_of(error)
            return False
        return True

    async def _send(self, publications: list[Publication], timeout_s: float) -> None:
        """One atomic batch (NATS ADR-50): every message but the last without an answer, the last one commits."""
        jetstream = self._shard.jetstream
        if not jetstream.connected:
            raise Unreachable("not connected to NATS")
        # A lost answer is cheaper to ask for again than to wait for: the expected sequences make the repetition
        # harmless.
        patience_s = min(timeout_s, 5)
        if len(publications) == 1:
            subject, headers, payload = publications[0]
            answer = answer_of((await jetstream.request(subject, payload, headers, timeout_s=patience_s)).data)
            if answer.get("duplicate"):  # nothing was written: it remembers that it has stored this very publication
                raise ApiError(BAD_REQUEST, ErrorNumber.DUPLICATE_MESSAGE, "it is stored already")
            return
        batch = _nuid.next().decode()
        for number, (subject, headers, payload) in enumerate(publications[:-1], 1):
            stamped = {**headers, "Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
            await jetstream.nc.publish(subject, payload, headers=stamped)
        subject, headers, payload = publications[-1]
        stamped = {
            **headers,
            "Nats-Batch-Id": batch,
            "Nats-Batch-Sequence": str(len(publications)),
            "Nats-Batch-Commit": "1",
        }
        answer_of((await jetstream.request(subject, payload, stamped, timeout_s=patience_s)).data)


def _tell(unit: _Unit, answer: Answer) -> None:
    if not unit.answer.done():
        unit.answer.set_result(answer)
