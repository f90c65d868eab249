"""Watches that the streams keep what they have, and tells when they did not.

What is known of a stream is a note in WATCH, so it outlives every process and the servers. A loss is written there as
well: every process is in trouble until an operator has acknowledged it.
"""

import asyncio
import contextlib
import math
from collections.abc import Sequence
from typing import Any

import msgspec
from prometheus_client import Gauge

from jetpost.jetstream.connection import JetStream
from jetpost.jetstream.errors import ApiError, Unreachable
from jetpost.jetstream.kv import Note, time_of
from jetpost.jetstream.streams import about
from jetpost.queue.integrity.board import Board
from jetpost.queue.integrity.copies import EVERYTHING, Copies, Doubt, leader_of
from jetpost.queue.integrity.losses import Known, Seen, acknowledged, loss, missing, seen, unaccounted
from jetpost.reason import reason_of
from jetpost.telemetry.log import logger

LOSS = Gauge(
    "jetpost_queue_loss",
    "1 while a stream has lost messages and no operator has acknowledged that. Labels: `stream`.",
    ["stream"],
)
UNACCOUNTED = Gauge(
    "jetpost_queue_unaccounted_messages",
    "Messages by which the counts of a stream differ: those of the server, or those before and after its servers were "
    "unavailable (for an hour). Labels: `stream`.",
    ["stream"],
)
RUNBOOK = "docs/runbooks/store-has-lost.md"
_EVERY_S = 5.0
_NOTE_S = 10.0
_TOLD_S = 3600.0
_CLOSE_S = 1.0
_DETAILS_S = 600.0
_MOST_DELETED = 300_000
"""Above this the details are not asked for: they list each gap, and would not fit into one answer."""
_SURE_LOOKS = 5
"""Looks after which a leader that knows less is no new one that is about to catch up, nor one that was cut off."""

log = logger(__name__)


class Keeper:
    """What is known of each stream."""

    def __init__(self, jetstream: JetStream, streams: Sequence[str]) -> None:
        self._jetstream = jetstream
        self._board = Board(jetstream)
        self._streams = [_Watched(name, Copies(jetstream, name)) for name in streams]
        self._generation = -1
        self._detailed_at = 0.0
        self.trouble: str | None = None
        """What was lost, or None."""

    async def close(self) -> None:
        """Note what there is at the end; as well as that goes."""
        with contextlib.suppress(Unreachable, ApiError, TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await self.look(last=True)

    async def watch(self) -> None:
        """Look now and then, for ever."""
        while True:
            await asyncio.sleep(_EVERY_S)
            try:
                await self.look()
            except (Unreachable, ApiError) as error:
                log.debug("cannot read stream state", error=reason_of(error))

    async def look(self, *, last: bool = False) -> None:
        """Compare each stream with what is known of it, and note what it has; a `last` look is always noted.

        Unreachable or ApiError: nobody can say.
        """
        now, generation = asyncio.get_running_loop().time(), self._jetstream.generation
        detailed = generation != self._generation or now - self._detailed_at > _DETAILS_S
        for stream in self._streams if generation != self._generation else ():
            stream.came_back(now)
        losses = [await self._compare(stream, detailed=detailed, last=last) for stream in self._streams]
        if detailed:
            self._generation, self._detailed_at = generation, now
        found = [text for text in losses if text]
        self.trouble = f"{'; '.join(found)}: see {RUNBOOK}" if found else None

    async def _compare(self, stream: "_Watched", *, detailed: bool, last: bool) -> str:
        note = await self._board.read(f"stream.{stream.name}")
        known = _known(note)
        answer = await about(self._jetstream, stream.name)
        clustered = answer["config"]["num_replicas"] > 1
        if clustered and not known.loss:
            detailed = detailed or stream.copies.is_new(leader_of(answer))
        now = await self._seen(stream, answer, detailed=detailed)
        gap = stream.settled(unaccounted(now), missing(known, now), asyncio.get_running_loop().time())
        UNACCOUNTED.labels(stream.name).set(gap)
        if known.loss:
            LOSS.labels(stream.name).set(1)
            return f"{stream.name} has lost messages: {known.loss}"
        what = loss(known, now)
        if clustered:
            what, is_settled = await self._of_all_copies(stream, answer, known, now, what)
            if not is_settled:
                return ""
        if what is not None and stream.is_sure(clustered=clustered):
            known = msgspec.structs.replace(known, loss=what)
            await self._board.write(f"stream.{stream.name}", msgspec.to_builtins(known), note)
            log.error("stream lost messages", stream=stream.name, loss=what, runbook=RUNBOOK)
        elif what is None:
            stream.doubts = 0
            age_s = (time_of(answer["ts"]) - note.at).total_seconds() if note is not None else math.inf
            leader = leader_of(answer) if clustered else ""
            await self._remember(stream, known, note, now, leader, pressing=last or age_s >= _NOTE_S)
        LOSS.labels(stream.name).set(1 if known.loss else 0)
        return f"{stream.name} has lost messages: {known.loss}" if known.loss else ""

    async def _seen(self, stream: "_Watched", answer: dict[str, Any], *, detailed: bool) -> Seen:
        now = seen(answer["state"])
        if not detailed or now.deleted > _MOST_DELETED:
            return now
        now = seen((await about(self._jetstream, stream.name, details=True))["state"])
        if now.lost and answer["config"]["num_replicas"] > 1:  # the others may have given it back
            now = msgspec.structs.replace(now, lost=await stream.copies.absent(now.lost))
        return now

    async def _of_all_copies(
        self, stream: "_Watched", answer: dict[str, Any], known: Known, now: Seen, what: str | None
    ) -> tuple[str | None, bool]:
        """What all copies have lost of what one has; False: another server is to lead first, and nothing is noted."""
        copies, leader, at = stream.copies, leader_of(answer), asyncio.get_running_loop().time()
        if what is None and not (copies.follows_another(leader, known.leader) and missing(stream.known(known), now)):
            copies.trust(leader, at)
            return None, True
        if await copies.another_leads(answer, Doubt(at, now.lost or EVERYTHING, what)):
            stream.came_back(at)  # what is missing is counted with the next leader
            return None, False
        if (what := copies.lost_by_all(answer, at)) is None:
            copies.trust(leader, at)
        return what, True

    async def _remember(
        self, stream: "_Watched", known: Known, note: Note | None, now: Seen, leader: str, *, pressing: bool
    ) -> None:
        """Note what a stream has, as it was at the look before: that is on disk by now."""
        before = stream.looked(now)
        is_noted = leader == known.leader
        if before is None or (is_noted and not pressing):
            return
        if is_noted and before.last <= known.last and now.messages == known.messages:
            return
        value = msgspec.structs.replace(
            known,
            last=max(known.last, before.last),
            messages=min(before.messages, now.messages),
            churn=stream.churn,
            leader=leader,
        )
        await self._board.write(f"stream.{stream.name}", msgspec.to_builtins(value), note)


class _Watched:
    """A stream, and what this process saw of it lately."""

    def __init__(self, name: str, copies: Copies) -> None:
        self.name = name
        self.copies = copies
        self.doubts = 0
        self.churn = 0
        self._before: Seen | None = None
        self._unaccounted = self._missing = 0
        self._back_at = -math.inf
        self._just_back = False

    def looked(self, now: Seen) -> Seen | None:
        """Take a look in; the one before."""
        before, self._before = self._before, now
        if before is not None:
            # Slowly forgotten: a queue that was busy a minute ago may have been until its servers went.
            self.churn = max(int(self.churn * 0.9), before.messages - now.messages, 0)
        return before

    def known(self, noted: Known) -> Known:
        """What the stream is known to have, when the look before counts as well as what is noted."""
        before = self._before.messages if self._before is not None else 0
        return msgspec.structs.replace(noted, messages=max(noted.messages, before), churn=max(noted.churn, self.churn))

    def is_sure(self, *, clustered: bool) -> bool:
        """Whether a loss that was seen again is one; a server that is alone is believed at once."""
        self.doubts += 1
        return not clustered or self.doubts >= _SURE_LOOKS

    def came_back(self, now: float) -> None:
        """Its servers were away, or this process was: what it has is compared with what it had."""
        self._just_back, self._back_at = True, now

    def settled(self, unaccounted: int, missing: int, now: float) -> int:
        """By how much the counts do not add up.

        The server's own in two looks, as one may be taken in the middle of a change; or since the servers were away.
        """
        if self._just_back:
            self._just_back, self._missing = False, missing
        if now - self._back_at > _TOLD_S:
            self._missing = 0
        before, self._unaccounted = self._unaccounted, unaccounted
        return max(min(before, unaccounted), self._missing)


async def acknowledge(jetstream: JetStream, streams: Sequence[str]) -> dict[str, str]:
    """An operator knows what the streams have lost: what they have now is what is known of them. The losses, by stream.

    Unreachable or ApiError: it may not have been noted; it can be repeated.
    """
    board = Board(jetstream)
    told: dict[str, str] = {}
    for name in streams:
        note = await board.read(f"stream.{name}")
        known = _known(note)
        if not known.loss:
            continue
        state = (await about(jetstream, name))["state"]
        if int(state.get("num_deleted", 0)) <= _MOST_DELETED:
            state = (await about(jetstream, name, details=True))["state"]
        if not await board.write(f"stream.{name}", msgspec.to_builtins(acknowledged(known, seen(state))), note):
            raise Unreachable(f"the record of {name} changed meanwhile: repeat the command")
        told[name] = known.loss
    return told


def _known(note: Note | None) -> Known:
    """What a note says; one that a newer version wrote says what is known of it here."""
    if note is None:
        return Known()
    try:
        return msgspec.convert(note.value, Known)
    except msgspec.ValidationError:
        return Known()
