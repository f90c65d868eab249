"""What the processes of one installation tell each other about the queue: the stream WATCH, a note for each subject.

`watch.<room>.<name>`, JSON. It is read from the stream's leader and written with an expected last sequence: of two
processes one is first.
"""

from typing import Any

from jetpost.jetstream.connection import JetStream
from jetpost.jetstream.kv import KeyValue

WATCH_STREAM = "WATCH"


class Board(KeyValue):
    """The notes."""

    def __init__(self, jetstream: JetStream) -> None:
        super().__init__(jetstream, WATCH_STREAM, "watch")


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
