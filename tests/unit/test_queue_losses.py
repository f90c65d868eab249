"""What a stream has lost, from what is known of it and what its server says."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetpost.queue.integrity.losses import Known, Ranges, Seen, acknowledged, common, loss, ranges, seen, unaccounted

KNOWN = Known(last=200, messages=200)
AS_IT_WAS = Seen(first=1, last=200, messages=200, deleted=0, subjects=200)


def found(**changes: object) -> Seen:
    return msgspec.structs.replace(AS_IT_WAS, **changes)


@pytest.mark.parametrize(
    ("known", "now", "says"),
    [
        (KNOWN, AS_IT_WAS, None),
        (Known(), AS_IT_WAS, None),
        (KNOWN, found(last=900, messages=3, deleted=897), None),  # delivered
        (KNOWN, found(last=155, messages=155), "ends at 155"),
        (KNOWN, found(messages=155, deleted=45, lost_bytes=18), "45 messages are gone"),
        (KNOWN, found(messages=155, deleted=45), None),  # delivered: the server lost nothing
        (KNOWN, found(lost_bytes=18), None),  # the torn end of what was never acknowledged
        (Known(last=200, messages=200, churn=20), found(messages=155, lost_bytes=18), None),  # delivered, at this pace
        (KNOWN, found(messages=100, lost=((101, 200),)), "100 messages are lost, the first of them 101"),
        (Known(last=200, acknowledged=((101, 200),)), found(messages=100, lost=((101, 200),)), None),
        (Known(last=200, acknowledged=((101, 200),)), found(lost=((150, 160),)), None),
        (Known(last=200, acknowledged=((101, 200),)), found(lost=((90, 160),)), "71 messages"),
        (Known(last=200, messages=200, acknowledged_octets=18), found(messages=100, lost_bytes=18), None),
    ],
)
def test_a_loss_is_told_and_a_delivery_is_none(known: Known, now: Seen, says: str | None) -> None:
    told = loss(known, now)
    assert told is None if says is None else says in str(told)


@pytest.mark.parametrize(
    ("now", "by"),
    [
        (AS_IT_WAS, 0),
        (found(first=50, last=300, messages=200, deleted=51), 0),
        (found(messages=0, first=201, last=200, subjects=0), 0),
        (found(messages=100, last=100, subjects=200), 100),
        (found(messages=155), 45 + 45),
        (found(messages=200, subjects=150), 0),  # a move in the middle: two messages under one subject
    ],
)
def test_counts_add_up_or_are_told(now: Seen, by: int) -> None:
    assert unaccounted(now) == by


@given(st.sets(st.integers(1, 10**6), max_size=300))
def test_what_is_acknowledged_is_told_no_more(lost: set[int]) -> None:
    now = found(lost=ranges(sorted(lost)), lost_bytes=9, messages=0, last=100)
    assert loss(acknowledged(KNOWN, now), now) is None


@given(st.lists(st.integers(1, 10**7), max_size=3000))
def test_ranges_are_few_and_cover_all(numbers: list[int]) -> None:
    found = ranges(numbers)
    assert len(found) <= 1000
    assert all(any(start <= number <= end for start, end in found) for number in numbers)


def test_a_state_without_details_is_read() -> None:
    state = {"messages": 155, "bytes": 1, "first_seq": 1, "last_seq": 200, "num_subjects": 155, "num_deleted": 45}
    assert seen(state) == Seen(first=1, last=200, messages=155, deleted=45, subjects=155)
    assert seen({**state, "lost": {"msgs": None, "bytes": 18}}).lost_bytes == 18


@given(st.lists(st.sets(st.integers(1, 40)), min_size=1, max_size=4))
def test_what_all_copies_lost_is_what_each_of_them_lost(copies: list[set[int]]) -> None:
    told = common([ranges(sorted(lost)) for lost in copies])

    assert {number for start, end in told for number in range(start, end + 1)} == set.intersection(*copies)


def test_of_no_copy_nothing_is_lost() -> None:
    nothing: Ranges = ()
    assert common([]) == nothing
    assert common([((1, 1 << 63),), ((5, 9),)]) == ((5, 9),)
