"""What came of a commit, and what an error of the server means to who asked for it. Pure."""

from typing import NamedTuple

from jetpost.jetstream.errors import ApiError, ErrorNumber, Unreachable
from jetpost.mail.reply import EnhancedStatus, Reply
from jetpost.reason import reason_of

QUEUE_AWAY = Reply(451, EnhancedStatus(4, 3, 0), ("Queue unavailable, try again later",))
DISK_FULL = Reply(452, EnhancedStatus(4, 3, 1), ("Disk full, try again later",))
QUEUE_FULL = Reply(452, EnhancedStatus(4, 3, 1), ("Queue full, try again later",))
QUEUE_CANNOT = Reply(554, EnhancedStatus(5, 3, 4), ("This message can never be queued, its envelope is too large",))

CONFLICTS = frozenset({ErrorNumber.WRONG_LAST_SEQUENCE, ErrorNumber.DUPLICATE_MESSAGE})
"""Something lies under the key, or lay there."""
IN_A_MOMENT = frozenset(
    {
        ErrorNumber.WRONG_LAST_SEQUENCE_CONSTANT,
        ErrorNumber.TOO_MANY_ATOMIC_BATCHES,
        ErrorNumber.TOO_MANY_BATCHES,
    }
)
"""The move before this one is still being applied to the cluster, or too many batches are open."""
NO_ROOM = frozenset(
    {
        ErrorNumber.ACCOUNT_RESOURCES_EXCEEDED,
        ErrorNumber.INSUFFICIENT_RESOURCES,
        ErrorNumber.MEMORY_RESOURCES_EXCEEDED,
        ErrorNumber.STORAGE_RESOURCES_EXCEEDED,
        ErrorNumber.STORE_FAILED,
        ErrorNumber.PURGE_FAILED,
        ErrorNumber.MAX_STREAM_BYTES_EXCEEDED,
    }
)
BAD_REQUEST = 400
_NOT_OUR_FAULT = IN_A_MOMENT | {
    ErrorNumber.INCOMPLETE_BATCH,
    ErrorNumber.ATOMIC_PUBLISH_DISABLED,
    ErrorNumber.MEMBER_CHANGE_IN_FLIGHT,
}
"""Refused as bad requests, although the same unit may be stored later: the stream or the cluster is being changed."""


class Stored(NamedTuple):
    """The unit is on disk."""


class Refused(NamedTuple):
    """The expected sequence was another one: the unit, or a later move of its entry, is stored already."""


class Unavailable(NamedTuple):
    """The queue could not take it. The client hears `reply`; the log hears `cause`."""

    reply: Reply
    cause: str
    in_doubt: bool = False
    """Whether it may be stored all the same."""


class Impossible(NamedTuple):
    """The server will never take it: what it is, not when, is the reason."""

    cause: str


Answer = Stored | Refused | Unavailable | Impossible


def unavailable(error: ApiError | Unreachable) -> Unavailable:
    """What an error of the server says to who wanted to store something."""
    full = isinstance(error, ApiError) and error.err_code in NO_ROOM
    return Unavailable(QUEUE_FULL if full else QUEUE_AWAY, reason_of(error))


def is_impossible(error: ApiError, *, alone: bool) -> bool:
    """Whether the server refuses what was sent, not the moment; beside others an incomplete batch may mean that."""
    if error.err_code == ErrorNumber.INCOMPLETE_BATCH:
        return not alone
    return error.code == BAD_REQUEST and error.err_code not in _NOT_OUR_FAULT
