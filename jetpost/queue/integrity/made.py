"""Which streams there are, written down once all of them exist: a queue that was there never starts empty in silence.

The note lies on the board (`watch.streams.made`): each stream's name, and a last sequence that it had for certain. It
grows when streams are made, and follows their last sequences while processes run. A stream that is listed and is not
there, or ends earlier than it did, is a loss: no process starts, and those that run take no mail, until the stream is
back or an operator says that it may be forgotten (`jetpost queue forget`).
"""

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

from prometheus_client import Gauge

from jetpost.jetstream.connection import JetStream
from jetpost.jetstream.errors import ApiError, ErrorNumber, Unreachable
from jetpost.jetstream.kv import Note
from jetpost.jetstream.streams import ends_at
from jetpost.queue.integrity.board import Board, is_our_turn
from jetpost.reason import reason_of
from jetpost.telemetry.log import logger

MISSING = Gauge("jetpost_queue_streams_missing", "Streams that are missing or lost their end; 0: none.")
RUNBOOK = "docs/runbooks/stream-is-missing.md"
_NOTE = "streams.made"
_EVERY_S = 30.0
_AGAIN_S = 1.0
_LOOKS = 10
"""A server that has just started may not know all of its streams, or all that is in them."""
_TRIES = 20

log = logger(__name__)

Ends = Mapping[str, int]
"""Last sequences of streams by their names."""


class Made:
    """The note, for one process."""

    def __init__(self, jetstream: JetStream) -> None:
        self._jetstream = jetstream
        self._board = Board(jetstream)
        self._looked: Ends = {}
        self.trouble: str | None = None
        """Why no mail may be accepted now, or None."""

    async def lost(self) -> str | None:
        """What is lost, in words, if it still is after some looks; None: nothing. Unreachable or ApiError: unknown."""
        reasons: dict[str, str] = {}
        for look in range(_LOOKS):
            if look:
                await asyncio.sleep(_AGAIN_S)
            listed = _listed(await self._read())
            found = await self._ends(listed)
            if not (reasons := missing(listed, found)):
                return None
        return _told(reasons)

    async def add(self, names: Collection[str]) -> None:
        """List these streams, which exist. Unreachable or ApiError: the note may not be written."""
        for _ in range(_TRIES):
            note = await self._read()
            listed = _listed(note)
            if listed.keys() >= set(names):
                return
            if await self._write({**dict.fromkeys(names, 0), **listed}, note):
                return
        raise Unreachable("another process writes the list of streams: try again")

    async def forget(self, names: Collection[str]) -> list[str]:
        """List these streams no more; those that were. Unreachable or ApiError: the note may not be written."""
        for _ in range(_TRIES):
            note = await self._read()
            listed = _listed(note)
            known = sorted(listed.keys() & set(names))
            left = {name: last for name, last in listed.items() if name not in known}
            if not known or await self._write(left, note):
                await self._blank(known)
                return known
        raise Unreachable("another process writes the list of streams: try again")

    async def accept(self) -> dict[str, str]:
        """What streams that are there have lost at their ends is a fact: list them as they are. What it was, by stream.

        Unreachable or ApiError: the note may not be written; it can be repeated.
        """
        listed = _listed(await self._read())
        found = await self._ends(listed)
        reasons = {name: why for name, why in missing(listed, found).items() if found.get(name) is not None}
        if reasons:
            await self.forget(reasons)
            await self.add(reasons)
        return reasons

    async def _blank(self, names: Collection[str]) -> None:
        """What the streams had is not what they have to have any more (see Keeper)."""
        for name in names:
            if (note := await self._board.read(f"stream.{name}")) is not None:
                await self._board.write(f"stream.{name}", {}, note)

    async def watch(self) -> None:
        """Look now and then, for ever, and keep the note close to the streams."""
        while True:
            try:
                await self._look()
            except (Unreachable, ApiError, KeyError, TypeError, ValueError) as error:
                log.warning("cannot check streams", error=reason_of(error))
            await asyncio.sleep(_EVERY_S)

    async def _look(self) -> None:
        note = await self._read()
        listed = _listed(note)
        found = await self._ends(listed)
        reasons = missing(listed, found)
        if reasons and self.trouble is None and (told := await self.lost()) is None:
            return
        MISSING.set(len(reasons))
        told = _told(reasons) if reasons else None
        if told and told != self.trouble:
            log.error("streams are missing", reason=told)
        self.trouble = told
        if note is not None and not reasons:
            # What was told at the look before is on disk by now; what is told now may not be.
            later = {name: max(last, min(self._looked.get(name, 0), found[name] or 0)) for name, last in listed.items()}
            if later != listed and await is_our_turn(self._board, "streams", _EVERY_S):
                await self._write(later, note)
        self._looked = {name: last for name, last in found.items() if last is not None}

    async def _read(self) -> Note | None:
        """None: nothing was written yet. Unreachable or ApiError: nobody can say."""
        try:
            return await self._board.read(_NOTE)
        except ApiError as error:
            if error.err_code != ErrorNumber.STREAM_NOT_FOUND:
                raise
            return None

    async def _write(self, ends: Ends, after: Note | None) -> bool:
        return await self._board.write(_NOTE, {"streams": dict(ends)}, after)

    async def _ends(self, names: Collection[str]) -> dict[str, int | None]:
        """Where each stream ends, by its leader; None: it is certainly not there."""
        return {name: await ends_at(self._jetstream, name) for name in names}


def missing(listed: Ends, found: Mapping[str, int | None]) -> dict[str, str]:
    """Why listed streams are not what they were, by their names; empty: all are."""
    reasons: dict[str, str] = {}
    for name, last in sorted(listed.items()):
        now = found.get(name)
        if now is None:
            reasons[name] = "is not there any more"
        elif now < last:
            reasons[name] = f"ends at {now}, and it had {last} already"
    return reasons


def _told(reasons: Mapping[str, str]) -> str:
    told = "; ".join(f"stream {name} {reason}" for name, reason in reasons.items())
    return f"the queue has lost something: {told}; what to do: {RUNBOOK}"


def _listed(note: Note | None) -> dict[str, int]:
    """What a note lists; one that cannot be read lists nothing."""
    streams: Any = None if note is None else note.value.get("streams")
    if not isinstance(streams, dict):
        return {}
    return {name: last for name, last in streams.items() if isinstance(last, int)}
