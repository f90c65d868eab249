"""Which keys of a domain sign while one replaces another, and how long a record is needed (RFC 6376, 3.1). Pure."""

import re
from collections.abc import Container, Iterable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from jetpost.sign.key_file import Notes
from jetpost.sign.keys import SigningKey

VERIFIERS = timedelta(days=7)
"""How long after our last attempt a verifier may need the record: hosts after the next one queue for days (RFC 5321,
4.5.4.1), and mailboxes are filtered when they are read."""
_SIGNATURE = re.compile(r"^DKIM-Signature:((?:[^\r\n]|\r\n[ \t])*)", re.MULTILINE | re.IGNORECASE)
_TAG = re.compile(r"(?:^|;)\s*([ds])\s*=\s*([^;\s]+)")


class Stage(StrEnum):
    """What a key does."""

    WAITS = "waiting for DNS"
    SIGNS = "signs"
    RETIRED = "retired"


class Held(NamedTuple):
    """A key that there is."""

    key: SigningKey
    notes: Notes = Notes()


def asked_for(keys: Iterable[Held]) -> list[Held]:
    """The keys about whose records DNS is asked: those that replace one that is there, or that was lost."""
    keys = list(keys)
    there = _by_name(keys)
    return [held for held in keys if _predecessors(held, there) or missing(held, there)]


def stages(keys: Iterable[Held], shown: Mapping[tuple[str, str], bool]) -> dict[tuple[str, str], Stage]:
    """The stage of each key, by domain and selector. `shown`: whether all name servers show its record, if they say.

    A key that replaces others signs once its record is shown. Where nobody knows, it signs when those that it replaces
    are retired. When their files are missing, it signs if no other key of its algorithm does: one signature that
    fails beside one that verifies does no harm. Without a key that it replaces it signs at once. Of each domain that
    has keys at least one signs.
    """
    there = _by_name(keys)
    ready = {name for name, held in there.items() if _is_ready(held, there, shown=shown.get(name))}
    kinds = {(name[0], there[name].key.algorithm) for name in ready}
    ready |= {
        name
        for name, held in there.items()
        if name not in shown and not _predecessors(held, there) and (name[0], held.key.algorithm) not in kinds
    }
    replaced = _replaced(ready, there)
    found = {
        name: Stage.RETIRED if name in replaced else Stage.SIGNS if name in ready else Stage.WAITS for name in there
    }
    for candidates in (ready, {name for name, held in there.items() if not _predecessors(held, there)}, set(there)):
        # Keys that replace one another: none is the newer one. Or no record is known to be there: the oldest sign.
        signing = {domain for (domain, _), stage in found.items() if stage is Stage.SIGNS}
        found |= {name: Stage.SIGNS for name in candidates if name[0] not in signing}
    return found


def _by_name(keys: Iterable[Held]) -> dict[tuple[str, str], Held]:
    return {(held.key.domain, held.key.selector): held for held in keys}


def _is_ready(held: Held, there: Mapping[tuple[str, str], Held], *, shown: bool | None) -> bool:
    predecessors = _predecessors(held, there)
    if missing(held, there):
        return shown is True
    if not predecessors:
        return True
    return all(it.notes.retired is not None for it in predecessors) if shown is None else shown


def missing(held: Held, there: Container[tuple[str, str]]) -> list[str]:
    """The selectors of keys that it replaces, whose files are gone and were not removed by a rotation."""
    names = sorted(held.notes.replaces - held.notes.removed - {held.key.selector})
    return [it for it in names if (held.key.domain, it) not in there]


def _predecessors(held: Held, there: Mapping[tuple[str, str], Held]) -> list[Held]:
    names = ((held.key.domain, it) for it in sorted(held.notes.replaces) if it != held.key.selector)
    return [there[name] for name in names if name in there]


def _replaced(ready: Iterable[tuple[str, str]], there: Mapping[tuple[str, str], Held]) -> set[tuple[str, str]]:
    """The keys that one of the `ready` replaces, or a key that replaces them."""
    found: set[tuple[str, str]] = set()
    follow = list(ready)
    while follow:
        for other in _predecessors(there[follow.pop()], there):
            name = other.key.domain, other.key.selector
            if name not in found:
                found.add(name)
                follow.append(name)
    return found


class Make(NamedTuple):
    """The next step of a rotation: make the new key."""

    replaces: frozenset[str]


class Publish(NamedTuple):
    """Wait until DNS shows the record of the new key."""


class Retire(NamedTuple):
    """Note that these keys are replaced for good."""

    selectors: tuple[str, ...]


class Resume(NamedTuple):
    """These keys sign again, since the record of the new key is gone: take the note back."""

    selectors: tuple[str, ...]


class Keep(NamedTuple):
    """Wait: the records of the replaced keys are needed."""

    until: datetime


class Remove(NamedTuple):
    """These keys are needed no longer, unless the queue has messages that they signed."""

    selectors: tuple[str, ...]


class Missing(NamedTuple):
    """The files of these keys are gone. Nobody knows how long their records are needed."""

    selectors: tuple[str, ...]


class Complete(NamedTuple):
    """Nothing is left to do."""


class Impossible(NamedTuple):
    """There is no key of this kind to replace."""


Step = Make | Publish | Retire | Resume | Keep | Remove | Missing | Complete | Impossible


def next_step(
    domain_keys: Iterable[Held], selector: str, algorithm: str, *, shown: bool | None, now: datetime, lifetime_s: float
) -> Step:
    """What comes next on the way from the keys of an `algorithm` to the key called `selector`. All are of one domain.

    `shown`: whether all name servers show its record. None: not all of them answer. The step follows from the keys and
    from DNS alone: whoever was interrupted asks again.
    """
    there = {held.key.selector: held for held in domain_keys}
    new = there.get(selector)
    if new is None:
        old = [it for it in there.values() if it.key.algorithm == algorithm and it.notes.retired is None]
        return Make(frozenset(it.key.selector for it in old)) if old else Impossible()
    old = [there[it] for it in sorted(new.notes.replaces - {selector}) if it in there]
    lost = missing(new, _by_name(there.values()))
    if not old and not lost:
        return Complete()
    retired = [it.notes.retired for it in old if it.notes.retired is not None]
    if not shown:
        is_back = shown is False and bool(retired)
        return Resume(tuple(it.key.selector for it in old if it.notes.retired)) if is_back else Publish()
    if not old:
        return Missing(tuple(lost))
    if len(retired) < len(old):
        return Retire(tuple(it.key.selector for it in old if it.notes.retired is None))
    until = max(kept_until(it, lifetime_s) for it in retired)
    return Keep(until) if now < until else Remove(tuple(it.key.selector for it in old))


def published(keys: Iterable[Held], found: Mapping[tuple[str, str], Stage]) -> list[Held]:
    """The keys whose records must be in DNS: those that sign, have signed, or should sign since the others retired."""
    there = _by_name(keys)
    return [
        held for name, held in there.items() if found[name] is not Stage.WAITS or _is_ready(held, there, shown=None)
    ]


def kept_until(retired: datetime, lifetime_s: float) -> datetime:
    """Until when the record of a key is needed that signed last at `retired`. A message is tried for `lifetime_s`."""
    return retired + timedelta(seconds=lifetime_s) + VERIFIERS


def signers_of(trace: str) -> set[tuple[str, str]]:
    """The keys, by domain and selector, whose signatures are among the header lines `trace` of an entry."""
    found = set()
    for signature in _SIGNATURE.findall(trace):
        tags = dict(_TAG.findall(signature))
        if "d" in tags and "s" in tags:
            found.add((tags["d"], tags["s"]))
    return found
