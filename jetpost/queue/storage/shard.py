"""One shard: a stream of entries, and the words to ask it."""

import base64
import json
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from nats.aio.msg import Msg

from jetpost.jetstream.connection import JetStream
from jetpost.jetstream.errors import ApiError, ErrorNumber
from jetpost.jetstream.kv import last_message, last_sequence, time_of
from jetpost.jetstream.nats_client import headers_of
from jetpost.jetstream.pages import page
from jetpost.queue.model.entry import NO_ENTRY, Entry
from jetpost.queue.model.states import State
from jetpost.queue.model.unreadable import Unreadable
from jetpost.reason import reason_of

_SEQUENCE = "Nats-Sequence"
DEPOSED_S = 15.0
"""After so long a leader that is cut off from its cluster has stepped down (10 s without a quorum)."""
_NOT_THERE = frozenset(
    {ErrorNumber.NO_MESSAGE_FOUND, ErrorNumber.SEQUENCE_NOT_FOUND, ErrorNumber.MESSAGE_DELETE_FAILED}
)


class StoredEntry(NamedTuple):
    """An entry and where it lies."""

    sequence: int
    entry: Entry
    since: datetime
    """When it came there."""

    @property
    def state(self) -> State:
        """Where the entry stands."""
        return self.entry.state


Found = StoredEntry | Unreadable
"""What lies somewhere in the queue."""


class Raw(NamedTuple):
    """A stored message, byte for byte."""

    subject: str
    headers: bytes
    payload: bytes


class Shard(NamedTuple):
    """The stream `MAIL` (number 0) or `MAIL-<number>`, with subjects `mail…` or `mail-<number>…`."""

    number: int
    jetstream: JetStream

    @property
    def stream(self) -> str:
        """The stream's name."""
        return f"MAIL-{self.number}" if self.number else "MAIL"

    @property
    def prefix(self) -> str:
        """The first token of its subjects."""
        return f"mail-{self.number}" if self.number else "mail"

    def subject(self, logical: str) -> str:
        """The subject in this shard for the entry's subject or key `mail.…`."""
        return f"mail-{self.number}{logical[4:]}" if self.number else logical

    def states(self, state: State | None = None, domain_token: str | None = None) -> str:
        """The filter for all entries of a state, of a domain, or both."""
        return f"{self.prefix}.{state.value if state else '*'}.{domain_token or '*'}.*"

    async def last(self, key: str) -> int:
        """The sequence of the latest entry under `key`, as the leader knows it; 0 when there is none."""
        return await last_sequence(self.jetstream, self.stream, self.subject(key))

    async def lives_on(self, key: str, sequence: int) -> bool:
        """Whether an entry, and no tombstone, lies under `key` beyond `sequence`, as the leader knows it."""
        found = await last_message(self.jetstream, self.stream, self.subject(key))
        return found is not None and found.sequence > sequence and found.subject.split(".")[1] != State.DONE.value

    async def latest(self, key: str) -> Found | None:
        """The latest entry under `key`, as the leader knows it; None when there is none, or a tombstone."""
        last = await self._leaders({"last_by_subj": self.subject(key)})
        return None if last is None else last.found

    async def direct(self, question: dict[str, Any]) -> Msg:
        """One direct get, served by any replica. Unreachable when nobody answers."""
        return await self.jetstream.request(f"$JS.API.DIRECT.GET.{self.stream}", json.dumps(question).encode())

    async def at(self, sequence: int) -> Found | None:
        """What lies at `sequence`; None when it is gone. Unreachable when nobody answers."""
        return stored(await self.direct({"seq": sequence}))

    async def raw(self, sequence: int) -> Raw | None:
        """The message at `sequence` as the leader has it; None when it is gone."""
        try:
            answer = await self.jetstream.api(f"STREAM.MSG.GET.{self.stream}", {"seq": sequence})
        except ApiError as error:
            if error.err_code not in _NOT_THERE:
                raise
            return None
        return _raw(answer["message"])

    async def oldest(self, state: State, *, beyond: int = 0) -> Found | None:
        """The entry that has been longest in `state`, of those after the sequence `beyond`; or None."""
        message = await self.direct({"seq": beyond + 1, "next_by_subj": self.states(state)})
        return stored(message)

    async def claimed_up_to(self, consumer: str) -> int:
        """The sequence up to which a durable consumer's entries have been given to somebody; 0: there is none yet."""
        try:
            about = await self.jetstream.api(f"CONSUMER.INFO.{self.stream}.{consumer}")
        except ApiError as error:
            if error.err_code != ErrorNumber.CONSUMER_NOT_FOUND:
                raise
            return 0
        return int(about["delivered"]["stream_seq"])

    async def delete(self, sequence: int) -> None:
        """Remove one entry. ApiError when it is not there any more is no error: that is what was asked for."""
        try:
            await self.jetstream.api(f"STREAM.MSG.DELETE.{self.stream}", {"seq": sequence, "no_erase": True})
        except ApiError as error:
            if error.err_code not in _NOT_THERE:
                raise

    async def forget(self, key: str) -> None:
        """Remove all that lies under `key`. Unreachable or ApiError when that may not have happened."""
        await self.jetstream.api(f"STREAM.PURGE.{self.stream}", {"filter": self.subject(key)})

    async def forget_before(self, key: str, sequence: int) -> None:
        """Remove what lies under `key` before `sequence`. Unreachable or ApiError when that may not have happened."""
        await self.jetstream.api(f"STREAM.PURGE.{self.stream}", {"filter": self.subject(key), "seq": sequence})

    async def walk(self, subjects: str, start: int = 1) -> AsyncIterator[Found]:
        """Every entry under `subjects` in the order of the queue, read in pages beside its consumers.

        A replica that lags behind ends too early, so the leader is asked whether that was the end. Unreachable or
        ApiError: it may not have been.
        """
        while True:
            messages = await page(self.jetstream, self.stream, {"seq": start, "next_by_subj": subjects})
            for message in messages:
                start = int((message.headers or {})[_SEQUENCE]) + 1
                if (found := stored(message)) is not None:
                    yield found
            if messages:
                continue
            if (following := await self._leaders({"seq": start, "next_by_subj": subjects})) is None:
                return
            start = following.sequence + 1
            if following.found is not None:
                yield following.found

    async def _leaders(self, question: dict[str, Any]) -> "_Leaders | None":
        """The message that the leader finds; None when it has none. Unreachable or ApiError when it does not answer."""
        try:
            message = (await self.jetstream.api(f"STREAM.MSG.GET.{self.stream}", question))["message"]
        except ApiError as error:
            if error.err_code not in _NOT_THERE:
                raise
            return None
        raw, subject, sequence = _raw(message), message["subject"], int(message["seq"])
        if _is_tombstone(subject):
            return _Leaders(sequence, None)
        return _Leaders(
            sequence, read(subject, headers_of(raw.headers), raw.payload, sequence, time_of(message["time"]))
        )


class _Leaders(NamedTuple):
    """What a leader has at a sequence."""

    sequence: int
    found: Found | None
    """None: a tombstone."""


def stored(message: Msg) -> Found | None:
    """What the answer to a direct get holds; None when there is nothing, or a tombstone."""
    headers = message.headers or {}
    if _SEQUENCE not in headers:  # a status of the server; a stored message may have any other header
        return None
    subject = headers.get("Nats-Subject", "")
    if _is_tombstone(subject):
        return None
    return read(subject, headers, message.data, int(headers[_SEQUENCE]), time_of(headers["Nats-Time-Stamp"]))


def _is_tombstone(subject: str) -> bool:
    return subject.split(".")[1:2] == [State.DONE.value]


def _raw(message: dict[str, Any]) -> Raw:
    """From the answer of STREAM.MSG.GET."""
    headers, payload = (base64.b64decode(message.get(part, "")) for part in ("hdrs", "data"))
    return Raw(message["subject"], headers, payload)


def read(subject: str, headers: Mapping[str, str], payload: bytes, sequence: int, since: datetime) -> Found:
    """The one door for whatever lies in the queue: an entry, or what cannot be read as one."""
    try:
        return StoredEntry(sequence, Entry.read(subject, headers, payload), since)
    except ValueError as error:
        return Unreadable(reason_of(error).removeprefix(NO_ENTRY), subject, sequence, headers, payload, since)
