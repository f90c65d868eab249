"""The last message under a subject is its value: read from the leader, written with an expected sequence."""

import base64
import json
from datetime import UTC, datetime
from typing import Any, NamedTuple

from jetpost.jetstream.connection import JetStream
from jetpost.jetstream.errors import ApiError, ErrorNumber, answer_of
from jetpost.jetstream.streams import about


class Message(NamedTuple):
    """A stored message."""

    sequence: int
    subject: str
    at: datetime
    """When it was stored, by the server's clock."""
    payload: bytes


class Note(NamedTuple):
    """What was written last."""

    sequence: int
    at: datetime
    """By the server's clock."""
    value: dict[str, Any]


class KeyValue:
    """Reads and writes the notes of a stream, each under a subject `<prefix>.…` of its own."""

    def __init__(self, jetstream: JetStream, stream: str, prefix: str) -> None:
        self._jetstream = jetstream
        self._stream = stream
        self._prefix = prefix

    async def read(self, subject: str) -> Note | None:
        """The note under `subject`; None when there is none. Unreachable or ApiError: nobody can say."""
        found = await last_message(self._jetstream, self._stream, f"{self._prefix}.{subject}")
        return None if found is None else Note(found.sequence, found.at, _value(found.payload))

    async def write(self, subject: str, value: dict[str, Any], after: Note | None) -> bool:
        """Write a note that follows `after` (None: the first one). False when somebody else has written meanwhile."""
        expected = 0 if after is None else after.sequence
        place = f"{self._prefix}.{subject}"
        return await store_after(self._jetstream, place, json.dumps(value).encode(), expected, place)

    async def clock(self) -> datetime:
        """The time of the server that leads the stream. Unreachable or ApiError: nobody can say."""
        return time_of((await about(self._jetstream, self._stream))["ts"])


async def last_message(jetstream: JetStream, stream: str, subject: str) -> Message | None:
    """The last message under `subject`, wildcards allowed, as the leader knows it. Unreachable or ApiError: unknown."""
    try:
        found = (await jetstream.api(f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject}))["message"]
    except ApiError as error:
        if error.err_code != ErrorNumber.NO_MESSAGE_FOUND:
            raise
        return None
    return Message(int(found["seq"]), found["subject"], time_of(found["time"]), base64.b64decode(found.get("data", "")))


async def store_after(jetstream: JetStream, subject: str, payload: bytes, expected: int, under: str) -> bool:
    """Store a message when the last one of those `under` is `expected` (0: none). False when it is another by now."""
    headers = {
        "Nats-Expected-Last-Subject-Sequence": str(expected),
        "Nats-Expected-Last-Subject-Sequence-Subject": under,
    }
    try:
        answer_of((await jetstream.request(subject, payload, headers)).data)
    except ApiError as error:
        if error.err_code not in {ErrorNumber.WRONG_LAST_SEQUENCE, ErrorNumber.WRONG_LAST_SEQUENCE_CONSTANT}:
            raise
        return False
    return True


async def last_sequence(jetstream: JetStream, stream: str, subject: str) -> int:
    """The sequence of the last message under `subject`, wildcards allowed; 0 when there is none.

    Unreachable or ApiError when the stream's leader does not answer.
    """
    found = await last_message(jetstream, stream, subject)
    return 0 if found is None else found.sequence


async def last_payload(jetstream: JetStream, stream: str, subject: str) -> bytes | None:
    """What the last message under `subject` holds; None when there is none. Fails like `last_sequence`."""
    found = await last_message(jetstream, stream, subject)
    return None if found is None else found.payload


def time_of(stamp: str) -> datetime:
    """RFC 3339 with up to nine decimals, of which datetime knows six."""
    seconds, _, decimals = stamp.rstrip("Z").partition(".")
    return datetime.fromisoformat(seconds).replace(microsecond=int(decimals[:6].ljust(6, "0")), tzinfo=UTC)


def _value(payload: bytes) -> dict[str, Any]:
    """What a note says; one that is unreadable says nothing."""
    try:
        value = json.loads(payload)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
