"""Which keys sign while one replaces another: decided by the files and by DNS alone."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetpost.sign.key_file import Notes, file_name, named, notes_of, with_notes
from jetpost.sign.keys import PrivateKey, SigningKey, private_key
from jetpost.sign.rotation import (
    VERIFIERS,
    Complete,
    Held,
    Impossible,
    Keep,
    Make,
    Missing,
    Publish,
    Remove,
    Resume,
    Retire,
    Stage,
    Step,
    asked_for,
    kept_until,
    next_step,
    published,
    signers_of,
    stages,
)
from tests.fixtures.dkim import ed25519_pem, rsa_pem
from tests.fixtures.searched import at_most

NOW = datetime(2027, 1, 15, 9, 30, tzinfo=UTC)
PRIVATE = private_key(ed25519_pem())
WAITS, SIGNS, RETIRED = Stage.WAITS, Stage.SIGNS, Stage.RETIRED
LIFETIME_S = 5 * 86400


def held(
    selector: str,
    *replaces: str,
    retired: datetime | None = None,
    domain: str = "a.test",
    removed: tuple[str, ...] = (),
    key: PrivateKey = PRIVATE,
) -> Held:
    return Held(SigningKey(domain, selector, key), Notes(frozenset(replaces), retired, frozenset(removed)))


RSA = private_key(rsa_pem())
OLD, GONE = held("old"), held("old", retired=NOW)
NEW, NEWER = held("new", "old"), held("newer", "old", "new")
DONE = held("new", "old", removed=("old",))
"""A rotation has removed the old key."""
LAST = held("newer", "new")


@pytest.mark.parametrize(
    ("keys", "shown", "expected"),
    [
        ([OLD], {}, {"old": SIGNS}),
        ([OLD], {"old": False}, {"old": SIGNS}),
        ([OLD, held("ed")], {}, {"old": SIGNS, "ed": SIGNS}),
        ([OLD, NEW], {}, {"old": SIGNS, "new": WAITS}),
        ([OLD, NEW], {"new": False}, {"old": SIGNS, "new": WAITS}),
        ([OLD, NEW], {"new": True}, {"old": RETIRED, "new": SIGNS}),
        ([OLD, NEW, held("ed")], {"new": True}, {"old": RETIRED, "new": SIGNS, "ed": SIGNS}),
        ([NEW], {"new": False}, {"new": SIGNS}),
        ([GONE, NEW], {}, {"old": RETIRED, "new": SIGNS}),
        ([GONE, NEW], {"new": False}, {"old": SIGNS, "new": WAITS}),
        ([GONE], {}, {"old": SIGNS}),
        ([OLD, NEW, NEWER], {}, {"old": SIGNS, "new": WAITS, "newer": WAITS}),
        ([OLD, NEW, NEWER], {"new": True}, {"old": RETIRED, "new": SIGNS, "newer": WAITS}),
        ([OLD, NEW, NEWER], {"newer": True}, {"old": RETIRED, "new": RETIRED, "newer": SIGNS}),
        ([OLD, NEW, held("newer", "new")], {"newer": True}, {"old": RETIRED, "new": RETIRED, "newer": SIGNS}),
        # The file of a key between two others is lost.
        ([OLD, LAST], {}, {"old": SIGNS, "newer": WAITS}),
        ([OLD, LAST], {"newer": False}, {"old": SIGNS, "newer": WAITS}),
        ([OLD, LAST], {"newer": True}, {"old": SIGNS, "newer": SIGNS}),
        ([GONE, LAST], {}, {"old": SIGNS, "newer": WAITS}),
        ([OLD, NEWER], {}, {"old": SIGNS, "newer": WAITS}),
        ([GONE, NEWER], {}, {"old": SIGNS, "newer": WAITS}),
        ([GONE, NEWER], {"newer": False}, {"old": SIGNS, "newer": WAITS}),
        ([OLD, NEWER], {"newer": True}, {"old": RETIRED, "newer": SIGNS}),
        ([LAST, held("newest", "newer")], {}, {"newer": SIGNS, "newest": WAITS}),
        ([LAST, held("newest", "newer")], {"newer": False}, {"newer": SIGNS, "newest": WAITS}),
        ([LAST, held("newest", "newer")], {"newer": False, "newest": True}, {"newer": RETIRED, "newest": SIGNS}),
        ([OLD, LAST, held("newest", "newer")], {}, {"old": SIGNS, "newer": WAITS, "newest": WAITS}),
        # So it is beside a key of another kind; where nobody knows, both sign.
        ([held("rsa", key=RSA), NEW], {"new": False}, {"rsa": SIGNS, "new": WAITS}),
        ([held("rsa", key=RSA), NEW], {}, {"rsa": SIGNS, "new": SIGNS}),
        ([held("rsa", key=RSA), DONE], {}, {"rsa": SIGNS, "new": SIGNS}),
        # A rotation has come to its end: the key is like any other.
        ([DONE], {}, {"new": SIGNS}),
        ([held("ed"), DONE], {}, {"ed": SIGNS, "new": SIGNS}),
        ([held("ed"), DONE], {"new": False}, {"ed": SIGNS, "new": SIGNS}),
        ([DONE, LAST], {}, {"new": SIGNS, "newer": WAITS}),
        # It is killed before it has removed the old key.
        ([GONE, DONE], {}, {"old": RETIRED, "new": SIGNS}),
        ([held("x", "x")], {}, {"x": SIGNS}),
        ([held("x", "y"), held("y", "x")], {}, {"x": SIGNS, "y": SIGNS}),
        ([held("x", "y"), held("y", "x")], {"x": True, "y": True}, {"x": SIGNS, "y": SIGNS}),
    ],
)
def test_who_signs(keys: list[Held], shown: dict[str, bool], expected: dict[str, Stage]) -> None:
    found = stages(keys, {("a.test", selector): it for selector, it in shown.items()})

    assert {selector: stage for (_, selector), stage in found.items()} == expected


def test_a_key_replaces_none_of_another_domain() -> None:
    keys = [OLD, held("old", domain="b.test"), NEW]

    assert stages(keys, {("a.test", "new"): True})["b.test", "old"] is SIGNS
    assert asked_for(keys) == [NEW]
    assert asked_for([OLD, held("old", domain="b.test"), DONE]) == [DONE], "killed before the old one was removed"
    assert asked_for([held("old", domain="b.test"), DONE]) == []


NAMES = st.sampled_from(["a", "b", "c", "d"])
KEYS = st.builds(
    lambda selector, replaces, is_retired: held(selector, *replaces, retired=NOW if is_retired else None),
    NAMES,
    st.frozensets(NAMES),
    st.booleans(),
)


@given(st.lists(KEYS, min_size=1, unique_by=lambda it: it.key.selector), st.dictionaries(NAMES, st.booleans()))
def test_whatever_replaces_what_some_key_signs(keys: list[Held], shown: dict[str, bool]) -> None:
    answers = {("a.test", selector): it for selector, it in shown.items()}
    found = stages(keys, answers)

    assert set(found) == {(it.key.domain, it.key.selector) for it in keys}
    assert SIGNS in found.values()
    assert stages(list(reversed(keys)), answers) == found, "all processes decide alike"


@given(st.lists(KEYS, min_size=1, unique_by=lambda it: it.key.selector), st.dictionaries(NAMES, st.booleans()))
def test_no_key_signs_without_a_record_beside_one_that_has_it(keys: list[Held], shown: dict[str, bool]) -> None:
    """Keys that replace none are those with records: theirs are never asked for."""
    found = stages(keys, {("a.test", selector): it for selector, it in shown.items()})
    signing = [it for it in keys if found["a.test", it.key.selector] is SIGNS]
    asked = {it.key.selector for it in asked_for(keys)}

    assert asked == {it.key.selector for it in keys if it.notes.replaces - {it.key.selector}}
    has_record = [it for it in keys if it.key.selector not in asked or shown.get(it.key.selector)]
    if has_record:
        retired = {selector for it in keys if it.notes.retired for selector in [it.key.selector]}
        for it in signing:
            replaced = it.notes.replaces - {it.key.selector}
            is_told = shown.get(it.key.selector) is None and replaced <= retired
            assert it in has_record or is_told, "DNS has shown its record before: the others are retired"


def step(keys: list[Held], *, shown: bool | None = False, after: timedelta = timedelta(0)) -> Step:
    return next_step(keys, "new", "ed25519-sha256", shown=shown, now=NOW + after, lifetime_s=LIFETIME_S)


UNTIL = timedelta(days=5) + VERIFIERS


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        (step([]), Impossible()),
        (step([OLD]), Make(frozenset({"old"}))),
        (step([OLD, held("older", retired=NOW)]), Make(frozenset({"old"}))),
        (step([OLD, NEW]), Publish()),
        (step([OLD, NEW], shown=True), Retire(("old",))),
        (step([GONE, NEW], shown=True), Keep(NOW + UNTIL)),
        (step([GONE, NEW], shown=True, after=UNTIL - timedelta(seconds=1)), Keep(NOW + UNTIL)),
        (step([GONE, NEW], shown=True, after=UNTIL), Remove(("old",))),
        (step([GONE, NEW], shown=None, after=UNTIL), Publish()),
        (step([GONE, NEW], shown=False, after=UNTIL), Resume(("old",))),
        (step([OLD, NEW], shown=None), Publish()),
        (step([GONE, held("other"), held("new", "old", "other")], shown=True), Retire(("other",))),
        (step([DONE], shown=True), Complete()),
        (step([DONE]), Complete()),
        (step([GONE, DONE], shown=True, after=UNTIL), Remove(("old",))),
        (step([NEW], shown=True), Missing(("old",))),
        (step([NEW]), Publish()),
        (step([NEW], shown=None), Publish()),
        (step([OLD, held("new", "lost")], shown=True), Missing(("lost",))),
        (step([OLD, held("new", "lost", "old")], shown=True), Retire(("old",))),
        (step([GONE, held("new", "lost", "old")], shown=True, after=UNTIL), Remove(("old",))),
        (step([held("new", "lost", "old", removed=("old",))], shown=True), Missing(("lost",))),
    ],
)
def test_the_next_step(taken: Step, expected: Step) -> None:
    assert taken == expected


@pytest.mark.parametrize(
    ("keys", "shown", "expected"),
    [
        ([OLD, NEW], {}, {"old"}),
        ([OLD, NEW], {"new": True}, {"old", "new"}),
        ([GONE, NEW], {}, {"old", "new"}),
        # The record of the new key is gone again: that is told.
        ([GONE, NEW], {"new": False}, {"old", "new"}),
        ([NEW], {"new": False}, {"new"}),
    ],
)
def test_whose_records_must_be_in_dns(keys: list[Held], shown: dict[str, bool], expected: set[str]) -> None:
    found = stages(keys, {("a.test", selector): it for selector, it in shown.items()})

    assert {it.key.selector for it in published(keys, found)} == expected


def test_a_key_of_another_kind_is_not_replaced() -> None:
    assert next_step([OLD], "new", "rsa-sha256", shown=False, now=NOW, lifetime_s=1) == Impossible()


def test_a_record_is_kept_for_the_queue_and_for_verifiers() -> None:
    assert kept_until(NOW, LIFETIME_S) == NOW + timedelta(days=12)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("rsa2026._domainkey.example.org.pem", ("example.org", "rsa2026")),
        ("RSA._domainkey.Example.org.pem", ("example.org", "rsa")),
        ("a.b._domainkey.example.org.pem", ("example.org", "a.b")),
        ("rsa2026.pem", None),
        ("rsa2026._domainkey.example.org", None),
        ("._domainkey.example.org.pem", None),
        ("a b._domainkey.example.org.pem", None),
        ("a._domainkey.-.pem", None),
        ("a._domainkey..pem", None),
    ],
)
def test_the_name_of_a_file_is_that_of_the_record(name: str, key: tuple[str, str] | None) -> None:
    assert named(name) == key
    assert key is None or named(file_name(*key)) == key


@given(st.frozensets(NAMES), st.none() | st.integers(0, 10**6), st.frozensets(NAMES))
def test_notes_stand_above_the_key(replaces: frozenset[str], hours: int | None, removed: frozenset[str]) -> None:
    notes = Notes(replaces, None if hours is None else NOW + timedelta(hours=hours), removed)
    content = with_notes(b"A remark.\nRetired: 2020-01-01T00:00:00Z\n" + ed25519_pem(), notes)

    assert notes_of(content) == notes
    assert private_key(content)
    assert b"A remark." in content
    assert with_notes(content, notes) == content
    assert notes_of(content.replace(b"\n", b"\r\n")) == notes


@pytest.mark.parametrize("line", [b"Retired: yesterday", b"Retired:", b"Replaces: a;b", b"Replaces: -x", b"Removed: -"])
def test_a_note_that_cannot_be_read_is_said(line: bytes) -> None:
    with pytest.raises(ValueError, match=line.partition(b":")[0].decode()):
        notes_of(line + b"\n" + ed25519_pem())


def test_the_signers_of_an_entry_are_found_in_its_trace() -> None:
    trace = (
        "Received: from x by y; s=other; d=other.test\r\n"
        "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n\td=a.test; s=r.x;\r\n\tt=1; bh=d=x;\r\n\tb=s=\r\n"
        "DKIM-Signature: v=1; a=ed25519-sha256;\r\n\td=b.test; s=e; b=\r\nSubject: d=c.test; s=z;\r\n"
    )

    assert signers_of(trace) == {("a.test", "r.x"), ("b.test", "e")}
    assert signers_of("") == set()


class Simulated:
    """A rotation over weeks: files, DNS, two processes that look at both each hour, and an operator."""

    def __init__(self) -> None:
        self.hour = 0
        self.notes = {"old": Notes()}
        self.published = {"old"}
        self.seen: list[dict[tuple[str, str], bool]] = [{}, {}]
        self.signed = {"old": 0}
        self.is_over = False
        self.is_lost = False

    def now(self) -> datetime:
        return NOW + timedelta(hours=self.hour)

    def keys(self) -> list[Held]:
        return [Held(SigningKey("a.test", selector, PRIVATE), notes) for selector, notes in self.notes.items()]

    def hours(self, count: int, answers: list[bool]) -> None:
        """Both processes sign all the time. DNS answers some of them."""
        for _ in range(count):
            self.hour += 1
            for seen, does_answer in zip(self.seen, answers, strict=True):
                if does_answer:
                    seen.update({("a.test", it): it in self.published for it in self.notes})
                signing = {name for (_, name), stage in stages(self.keys(), seen).items() if stage is SIGNS}
                assert len(signing) == 1 or self.is_lost
                assert signing, "some key signs"
                if self.published & self.notes.keys():
                    assert signing <= self.published, "verifiers find its record"
                self.signed |= dict.fromkeys(signing, self.hour)

    def lose(self, selector: str) -> None:
        """A file is removed by accident; whoever reads the folder forgets what DNS said of the key."""
        self.is_lost = self.notes.pop(selector, None) is not None or self.is_lost
        for seen in self.seen:
            seen.pop(("a.test", selector), None)

    def rotate(self, selector: str = "new", *, does_answer: bool) -> None:
        """One call, interrupted after a step or not; the operator does what it says."""
        shown = (selector in self.published) if does_answer else None
        step = next_step(self.keys(), selector, "ed25519-sha256", shown=shown, now=self.now(), lifetime_s=LIFETIME_S)
        match step:
            case Make(replaces):
                self.notes[selector] = Notes(replaces)
            case Retire(selectors):
                for it in selectors:
                    self.notes[it] = self.notes[it]._replace(retired=self.now())
            case Remove(selectors):
                notes = self.notes[selector]
                self.notes[selector] = notes._replace(removed=notes.removed | set(selectors))
                for it in selectors:
                    del self.notes[it]
            case Missing():
                assert self.is_lost, "no record is given up"
            case Complete() if self.is_lost:
                pass
            case Complete():
                assert self.hour - self.signed["old"] >= (timedelta(days=12) - timedelta(hours=1)) / timedelta(hours=1)
                self.published.discard("old")
                self.is_over = True
            case _:
                assert isinstance(step, Publish | Keep)


ACTIONS = st.one_of(
    st.tuples(st.just("hours"), st.integers(1, 150), st.lists(st.booleans(), min_size=2, max_size=2)),
    st.tuples(st.just("rotate"), st.booleans(), st.none()),
    st.tuples(st.just("publish"), st.none(), st.none()),
)


@at_most(40)
@given(st.lists(ACTIONS, max_size=25))
def test_whenever_who_looks_every_signature_finds_its_record(actions: list[tuple[str, Any, Any]]) -> None:
    it = Simulated()
    for action, value, answers in actions:
        if action == "hours":
            it.hours(value, answers)
        elif action == "rotate":
            it.rotate(does_answer=value)
        elif "new" in it.notes:
            it.published.add("new")
    # Whatever has happened, it can be brought to its end.
    for _ in range(6):
        it.rotate(does_answer=True)
        it.published.add("new")
        it.hours(24 * 12, [True, True])
    assert it.is_over


LOSSES = st.one_of(
    st.tuples(st.just("hours"), st.integers(1, 150), st.lists(st.booleans(), min_size=2, max_size=2)),
    st.tuples(st.just("rotate"), st.booleans(), st.sampled_from(["new", "newer"])),
    st.tuples(st.just("publish"), st.sampled_from(["new", "newer"]), st.none()),
    st.tuples(st.just("lose"), st.just("new"), st.none()),
)


@at_most(40)
@given(st.lists(LOSSES, max_size=25))
def test_whenever_a_file_is_lost_none_signs_without_a_record_beside_one_that_has_it(
    actions: list[tuple[str, Any, Any]],
) -> None:
    """The key in the middle of two rotations is lost at any moment, and its successor is not published."""
    it = Simulated()
    for action, value, other in actions:
        if action == "hours":
            it.hours(value, other)
        elif action == "rotate" and not (it.is_lost and other == "new"):
            it.rotate(other, does_answer=value)
        elif action == "publish" and value in it.notes:
            it.published.add(value)
        elif action == "lose" and "newer" in it.notes:
            it.lose(value)
