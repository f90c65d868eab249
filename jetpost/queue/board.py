"""What the processes of one installation tell each other about the queue: the stream WATCH, a note for each subject.

`watch.<room>.<name>`, JSON. It is read from the stream's leader and written under a guard, so of two processes one is
first.
"""

import base64
import json
from datetime import datetime
from typing import Any, NamedTuple

from jetpost.jetstream.connection import ApiError, JetStream, Unreachable, answer_of
from jetpost.queue.shard import time_of

WATCH_STREAM = "WATCH"
_NO_MESSAGE = 10037
_WRONG_LAST_SEQUENCE = 10071
_IN_A_MOMENT = 10164
"""A message before this one is still being applied to the cluster."""


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


class Board:
    """Reads and writes notes."""

    def __init__(self, jetstream: JetStream) -> None:
        self._jetstream = jetstream

    async def read(self, subject: str) -> Note | None:
        """The note under `watch.<subject>`; None when there is none. Unreachable or ApiError: nobody can say."""
        found = await last_message(self._jetstream, WATCH_STREAM, f"watch.{subject}")
        return None if found is None else Note(found.sequence, found.at, _value(found.payload))

    async def write(self, subject: str, value: dict[str, Any], after: Note | None) -> bool:
        """Write a note that follows `after` (None: the first one). False when somebody else has written meanwhile."""
        expected = 0 if after is None else after.sequence
        place = f"watch.{subject}"
        return await store_after(self._jetstream, place, json.dumps(value).encode(), expected, place)

    async def clock(self) -> datetime:
        """The time of the server that leads the stream. Unreachable or ApiError: nobody can say."""
        return time_of((await about(self._jetstream, WATCH_STREAM))["ts"])


async def is_our_turn(board: Board, work: str, every_s: float) -> bool:
    """Whether this process does the `work` that one of all processes does once in `every_s` seconds of server's time.

    Killed after that: the work is done at the next turn. Unreachable or ApiError: nobody can say.
    """
    last = await board.read(f"turn.{work}")
    if last is not None and (await board.clock() - last.at).total_seconds() < every_s:
        return False
    return await board.write(f"turn.{work}", {}, last)


def board_stream(replicas: int) -> dict[str, Any]:
    """What the stream must be."""
    return {
        "name": WATCH_STREAM,
        "subjects": ["watch.*.*"],
        "retention": "limits",
        "storage": "file",
        "num_replicas": replicas,
        "max_msgs_per_subject": 1,
    }


async def about(
    jetstream: JetStream, stream: str, subjects: str | None = None, offset: int = 0, *, details: bool = False
) -> dict[str, Any]:
    """The leader's word about `stream` (STREAM.INFO), with the counts of the subjects that match `subjects`.

    `details`: also each sequence that is deleted, and those that are lost.

    While there is no leader a replica answers, which may know less: Unreachable, like no answer. ApiError: refused.
    """
    question: dict[str, Any] | None = None
    if subjects is not None:
        question = {"subjects_filter": subjects, "offset": offset}
    elif details:
        question = {"deleted_details": True}
    answer = await jetstream.api(f"STREAM.INFO.{stream}", question)
    cluster = answer.get("cluster")
    if cluster is not None and not cluster.get("leader") and answer["config"]["num_replicas"] > 1:
        raise Unreachable(f"{stream} has no leader")
    return answer


async def last_message(jetstream: JetStream, stream: str, subject: str) -> Message | None:
    """The last message under `subject`, wildcards allowed, as the leader knows it. Unreachable or ApiError: unknown."""
    try:
        found = (await jetstream.api(f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject}))["message"]
    except ApiError as error:
        if error.err_code != _NO_MESSAGE:
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
        if error.err_code not in {_WRONG_LAST_SEQUENCE, _IN_A_MOMENT}:
            raise
        return False
    return True


def _value(payload: bytes) -> dict[str, Any]:
    """What a note says; one that is unreadable says nothing."""
    try:
        value = json.loads(payload)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
