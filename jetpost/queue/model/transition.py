"""Entries as publications with an expected last sequence: fresh ones, and successors of a claimed one. Pure."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from jetpost.queue.model.entry import Entry
from jetpost.queue.model.publication import Publication
from jetpost.queue.model.states import State

_EXPECTED = "Nats-Expected-Last-Subject-Sequence"
_EXPECTED_SUBJECT = "Nats-Expected-Last-Subject-Sequence-Subject"
TOMBSTONE_TTL_S = 86400
"""How long the end of a bounce is remembered: far longer than a crash keeps its predecessor unacknowledged."""


class Subjects(Protocol):
    """Where entries lie: the names of one shard."""

    def subject(self, logical: str, /) -> str:
        """The subject there for an entry's subject or key `mail.…`."""


def publication(shard: Subjects, entry: Entry, expected: int) -> Publication:
    """`entry` for its stream, refused unless the latest sequence under its key is `expected` (0: none)."""
    headers, payload = entry.message()
    subject = shard.subject(entry.subject)
    headers |= expecting(shard, entry.key, expected)
    if expected == 0:
        # The duplicate table answers for an entry that was stored, taken and finished while its PubAck was lost.
        headers["Nats-Msg-Id"] = subject
    if entry.state is State.RETRY and entry.due is not None:
        headers["Nats-Schedule"] = f"@at {entry.due.strftime('%Y-%m-%dT%H:%M:%S.%fZ')}"
        headers["Nats-Schedule-Target"] = shard.subject(entry.moved(State.READY).subject)
    return Publication(subject, headers, payload)


def expecting(shard: Subjects, key: str, expected: int) -> dict[str, str]:
    """The headers of a message that is refused unless the latest sequence under `key` is `expected` (0: none)."""
    return {_EXPECTED: str(expected), _EXPECTED_SUBJECT: shard.subject(key)}


def follows_another(headers: Mapping[str, str]) -> bool:
    """Whether a stored message was published as the successor of an entry under the same key."""
    return headers.get(_EXPECTED, "0") != "0"


def tombstone(shard: Subjects, key: str, sequence: int) -> Publication:
    """The end of what lies under `key` at `sequence`."""
    headers = {**expecting(shard, key, sequence), "Nats-TTL": f"{TOMBSTONE_TTL_S}s"}
    return Publication(shard.subject(key.replace("*", State.DONE.value, 1)), headers, b"")


def fence(shard: Subjects, key: str) -> Publication:
    """A tombstone under `key`, refused when anything lies there: once it is stored, no fresh entry can be."""
    return tombstone(shard, key, 0)


def succession(shard: Subjects, entry: Entry, sequence: int, successors: Sequence[Entry]) -> tuple[Publication, ...]:
    """The successors of the `entry` that lies at `sequence`: one unit that can be stored once and never again.

    The successor under the entry's own key carries the expectation for all. Where none keeps the key (a bounce becomes
    a DSN for another domain), a tombstone does: a process that repeats the move after a crash is refused, even when the
    DSN has long been delivered.
    """
    keeping = [successor for successor in successors if successor.key == entry.key]
    if len(keeping) > 1:
        raise ValueError(f"{entry.key} would have {len(keeping)} live entries")
    # The entry's own key comes last: a server killed in the middle of writing a batch may keep its beginning, and then
    # the entry has not moved yet and the move is completed (see Queue.settle).
    parts = [successor for successor in successors if successor.key != entry.key]
    publications = [publication(shard, part, 0) for part in parts]
    publications += [publication(shard, successor, sequence) for successor in keeping]
    if not keeping:
        publications.append(tombstone(shard, entry.key, sequence))
    return tuple(publications)
