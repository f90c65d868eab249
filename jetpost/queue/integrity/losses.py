"""Whether a stream still has what it had. Pure.

A server that cannot read a block goes on without what was behind that place: it says `lost`, its last sequence goes
back, or the rest is deleted although nobody asked for it. Which of these depends on how it stopped.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

MOST_RANGES = 1000
_LOOKS, _FEW = 4, 10
"""What may have left the queue rightly between the last note and the end of the servers: in looks, and at least."""

Ranges = tuple[tuple[int, int], ...]


class Known(msgspec.Struct, frozen=True):
    """What a stream was known to have; stored as JSON."""

    last: int = 0
    """Its last sequence, at a look before the last: on disk by then."""
    messages: int = 0
    churn: int = 0
    """The most messages that went between two looks."""
    loss: str = ""
    """What it has lost, until an operator has acknowledged that."""
    acknowledged: Ranges = ()
    """Lost sequences that an operator knows of."""
    acknowledged_octets: int = 0
    leader: str = ""
    """In a cluster: the server that led."""


class Seen(msgspec.Struct, frozen=True):
    """A stream, as its leader describes it."""

    first: int
    last: int
    messages: int
    deleted: int
    subjects: int
    lost: Ranges = ()
    """Sequences of which the server says that they are lost."""
    lost_bytes: int = 0
    """What it could not read: lost messages, or the torn end of a block in which none was whole."""


def seen(state: Mapping[str, Any]) -> Seen:
    """From the `state` of STREAM.INFO; what is lost is in it when its details were asked for."""
    lost = state.get("lost") or {}
    return Seen(
        first=int(state.get("first_seq", 0)),
        last=int(state.get("last_seq", 0)),
        messages=int(state.get("messages", 0)),
        deleted=int(state.get("num_deleted", 0)),
        subjects=int(state.get("num_subjects", 0)),
        lost=ranges(lost.get("msgs") or ()),
        lost_bytes=int(lost.get("bytes") or 0),
    )


def loss(known: Known, now: Seen) -> str | None:
    """What the stream has lost since it was known, or None: as its leader says, who may be one that is catching up."""
    new = [pair for pair in now.lost if not _covers(known.acknowledged, pair)]
    if new:
        number = sum(end - start + 1 for start, end in new)
        return f"the server says that {number} messages are lost, the first of them {new[0][0]}"
    if now.last < known.last:
        return f"it ends at {now.last}, and it had {known.last} already"
    gone = known.messages - now.messages
    if now.lost_bytes > known.acknowledged_octets and missing(known, now):
        return f"the server could not read {now.lost_bytes} bytes, and {gone} messages are gone"
    return None


def missing(known: Known, now: Seen) -> int:
    """Messages that are gone since the note and that nobody is likely to have taken; asked after servers were away."""
    return max(known.messages - now.messages - max(_LOOKS * known.churn, _FEW), 0)


def unaccounted(now: Seen) -> int:
    """Messages by which the server's own counts differ."""
    span = now.last - now.first + 1 if now.messages else 0
    gap = abs(span - now.deleted - now.messages) if now.messages else 0
    return gap + max(now.subjects - now.messages, 0)


def acknowledged(known: Known, now: Seen) -> Known:
    """What is known when an operator has said that the loss is a fact."""
    return Known(
        last=now.last,
        messages=now.messages,
        churn=known.churn,
        acknowledged=_merged([*known.acknowledged, *now.lost]),
        acknowledged_octets=now.lost_bytes,
        leader=known.leader,
    )


def ranges(sequences: Sequence[int]) -> Ranges:
    """Sequences as ranges; of too many, the gaps at the end are counted in."""
    return _merged([(number, number) for number in sequences])


def common(many: Sequence[Ranges]) -> Ranges:
    """The sequences that are in each of `many`; of none, none."""
    if not many:
        return ()
    found = list(many[0])
    for other in many[1:]:
        pairs = [(max(a, c), min(b, d)) for a, b in found for c, d in other]
        found = [(start, end) for start, end in pairs if start <= end]
    return _merged(found)


def _merged(pairs: Sequence[tuple[int, int]]) -> Ranges:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(pairs):
        if merged and (start <= merged[-1][1] + 1 or len(merged) == MOST_RANGES):
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((start, end))
    return tuple(merged)


def _covers(known: Ranges, pair: tuple[int, int]) -> bool:
    return any(start <= pair[0] and pair[1] <= end for start, end in known)
