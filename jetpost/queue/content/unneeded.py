"""Which content no entry needs, and what is done about it. Pure.

The references of a content name entries. It is needed while one of those lies in the queue, in whatever state. When
none does, the content is marked. When that is still so a while later, and nothing was written to it since, it is
condemned and removed. Every time is the server's.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import NamedTuple

MARK, CONDEMNED = "mark", "gone"


class Step(Enum):
    """What is done about a content."""

    KEEP = "keep"
    UNMARK = "unmark"
    """It is needed after all: what a look before has noted counts no more."""
    MARK = "mark"
    CONDEMN = "condemn"
    REMOVE = "remove"


class Last(NamedTuple):
    """The last that was written to a content."""

    kind: str
    """`chunk`, `ref`, or what the sweep notes: `mark`, `gone`."""
    at: datetime


class Ages(NamedTuple):
    """How old the last message of a content is before it is touched."""

    unneeded: timedelta
    """Longer than anything that is under way: a session, a commit, a restore."""
    marked: timedelta
    """Between two looks."""


def next_step(last: Last, kinds: frozenset[str], now: datetime, ages: Ages, *, is_needed: bool) -> Step:
    """The step for a content whose subjects have `kinds`.

    `is_needed` is asked after the content's references were read: what is added later comes after `last`, and then the
    expected sequence of the step refuses it.
    """
    if CONDEMNED in kinds:  # nobody can add a reference any more without seeing this
        return Step.REMOVE
    if is_needed:
        return Step.UNMARK if MARK in kinds else Step.KEEP
    age = now - last.at
    if last.kind == MARK:
        return Step.CONDEMN if age >= ages.marked else Step.KEEP
    return Step.MARK if age >= ages.unneeded else Step.KEEP


def kind_of(subject: str) -> str:
    """The third token of `content.<content-id>.<kind>.<name>`."""
    return subject.split(".")[2]


def by_content(subjects: Iterable[str]) -> dict[str, list[str]]:
    """Content ids with their subjects; what is none of a content's is left out."""
    contents: dict[str, list[str]] = {}
    for subject in subjects:
        tokens = subject.split(".")
        if len(tokens) == 4:
            contents.setdefault(tokens[1], []).append(subject)
    return contents


def keys_of(reference: str) -> tuple[str, ...]:
    """The keys `mail.*.<domain>.<queue-id>` that `content.<content-id>.ref.<domain>-<queue-id>` may mean.

    A queue id begins with the content's; a domain may have `-` as well, so there may be more than one reading: all
    count. None: no entry of this or an earlier version was called so.
    """
    _, content_id, _, name = reference.split(".")
    return tuple(f"mail.*.{name[:at]}.{name[at + 1 :]}" for at in _places(f"-{content_id}", name) if at)


def _places(part: str, whole: str) -> Iterator[int]:
    at = whole.find(part)
    while at >= 0:
        yield at
        at = whole.find(part, at + 1)


def lives(subjects: Mapping[str, int]) -> bool:
    """Whether an entry lies under one of the `subjects`, and not only a tombstone."""
    return any(subject.split(".")[1] != "done" for subject in subjects)


def is_whole(subjects: Iterable[str], chunks: int) -> bool:
    """Whether a content has all its chunks, and nobody is about to remove it."""
    kinds = [kind_of(subject) for subject in subjects]
    return CONDEMNED not in kinds and kinds.count("chunk") >= chunks


def content_bytes(chunks: int, last: int, each: int) -> int:
    """Bytes of a content of so many chunks, all of `each` bytes but the `last` one."""
    return max(chunks - 1, 0) * each + (last if chunks else 0)
