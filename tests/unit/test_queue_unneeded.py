"""Which content no entry needs: a decision that rather keeps too much."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetpost.queue.content.unneeded import Ages, Last, Step, is_whole, keys_of, lives, next_step
from jetpost.queue.model.entry import DomainToken, fresh_queue_id, token_of

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
AGES = Ages(timedelta(days=1), timedelta(hours=1))
OLD, YOUNG = NOW - timedelta(days=2), NOW - timedelta(minutes=1)
CHUNKS, REFERRED = frozenset({"chunk"}), frozenset({"chunk", "ref"})
MARKED, CONDEMNED = REFERRED | {"mark"}, REFERRED | {"mark", "gone"}


@pytest.mark.parametrize(
    ("last", "kinds", "needed", "step"),
    [
        (Last("ref", OLD), REFERRED, True, Step.KEEP),
        (Last("chunk", YOUNG), CHUNKS, False, Step.KEEP),
        (Last("ref", YOUNG), REFERRED, False, Step.KEEP),
        (Last("chunk", OLD), CHUNKS, False, Step.MARK),
        (Last("ref", OLD), REFERRED, False, Step.MARK),
        (Last("mark", YOUNG), MARKED, False, Step.KEEP),
        (Last("mark", OLD), MARKED, False, Step.CONDEMN),
        (Last("mark", OLD), MARKED, True, Step.UNMARK),
        (Last("ref", YOUNG), MARKED, False, Step.KEEP),
        (Last("ref", OLD), MARKED, False, Step.MARK),
        (Last("gone", YOUNG), CONDEMNED, False, Step.REMOVE),
        (Last("ref", YOUNG), CONDEMNED, False, Step.REMOVE),
        # A leader whose clock is behind that of the one before: nothing is older than it is.
        (Last("chunk", NOW + timedelta(days=9)), CHUNKS, False, Step.KEEP),
    ],
)
def test_each_step_needs_age_and_two_looks(last: Last, kinds: frozenset[str], needed: bool, step: Step) -> None:
    assert next_step(last, kinds, NOW, AGES, is_needed=needed) is step


@given(
    st.sampled_from(["chunk", "ref", "mark"]),
    st.integers(-(10**6), 10**6),
    st.frozensets(st.sampled_from(["chunk", "ref", "mark"])),
)
def test_what_is_needed_is_never_on_its_way_out(kind: str, seconds: int, kinds: frozenset[str]) -> None:
    last = Last(kind, NOW - timedelta(seconds=seconds))
    assert next_step(last, kinds | {kind}, NOW, AGES, is_needed=True) in (Step.KEEP, Step.UNMARK)


@given(
    st.from_regex(r"[a-z0-9_=-]{1,40}", fullmatch=True), st.sampled_from(["", "-b1", "-b12", "-d0a1b2c3d", "-b1-b2"])
)
def test_a_reference_names_its_entry(token: str, part: str) -> None:
    content_id = fresh_queue_id(NOW, 7)
    assert f"mail.*.{token}.{content_id}{part}" in keys_of(f"content.{content_id}.ref.{token}-{content_id}{part}")


@pytest.mark.parametrize("name", ["dest_test", "dest_test-other", "06h0-dest"])
def test_a_reference_that_nobody_can_read_names_nothing(name: str) -> None:
    assert keys_of(f"content.{fresh_queue_id(NOW, 7)}.ref.{name}") == ()


def test_a_domain_that_contains_the_queue_id_is_read_in_every_way() -> None:
    content_id = fresh_queue_id(NOW, 7)
    domain_token: DomainToken = token_of(f"x-{content_id}-y.test")
    assert f"mail.*.{domain_token}.{content_id}" in keys_of(f"content.{content_id}.ref.{domain_token}-{content_id}")


@pytest.mark.parametrize(
    ("subjects", "alive"),
    [
        ({}, False),
        ({"mail.done.a.1": 1}, False),
        *(({f"mail.{state}.a.1": 1}, True) for state in ("ready", "parked", "retry", "bounce", "held", "of-tomorrow")),
        ({"mail.done.a.1": 1, "mail.held.a.1": 1}, True),
    ],
)
def test_an_entry_in_any_state_needs_its_content(subjects: dict[str, int], alive: bool) -> None:
    assert lives(subjects) is alive


@pytest.mark.parametrize(
    ("kinds", "whole"),
    [
        (["chunk.0", "chunk.1", "ref.x"], True),
        (["chunk.0", "ref.x"], False),
        (["ref.x"], False),
        (["chunk.0", "chunk.1", "ref.x", "mark.sweep"], True),
        (["chunk.0", "chunk.1", "ref.x", "gone.sweep"], False),
    ],
)
def test_whoever_is_accepted_has_the_whole_content(kinds: list[str], whole: bool) -> None:
    assert is_whole([f"content.x.{kind}" for kind in kinds], 2) is whole
