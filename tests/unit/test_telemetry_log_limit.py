"""Log lines that repeat: one of a cause and object in a while, the next one with the count, and bounded in all."""

from hypothesis import given
from hypothesis import strategies as st

from jetpost.telemetry.log_limit import LogLimit, Passed

MOST = 5


def test_the_line_after_the_period_counts_what_was_left_out() -> None:
    limit = LogLimit(10)

    passed = [limit.passes("cannot move", ("full",), now, MOST) for now in (0, 1, 9.9, 10, 11, 25)]

    assert passed == [Passed(0, 0), None, None, Passed(2, 0), None, Passed(1, 0)]


def test_other_causes_and_objects_are_not_left_out() -> None:
    limit = LogLimit(10)

    passed = [limit.passes("cannot pull", cause, 0, MOST) for cause in (("away", "a"), ("away", "b"), ("full", "a"))]

    assert passed == [Passed(0, 0)] * 3


def test_too_many_causes_of_one_event_are_counted_together_and_leave_room_for_other_events() -> None:
    limit = LogLimit(10)

    passed = [limit.passes("refused", (str(client),), 0, MOST) for client in range(100)]

    assert passed == [Passed(0, 0)] * MOST + [None] * (100 - MOST)
    assert limit.passes("accepted late", (), 0, MOST) == Passed(0, 0)
    assert limit.passes("refused", ("another",), 10, MOST) == Passed(0, 95)


def test_a_period_of_nothing_writes_everything() -> None:
    assert [LogLimit(0).passes("refused", (), 0, MOST) for _ in range(3)] == [Passed(0, 0)] * 3


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 12), st.floats(0, 4)),
        max_size=200,
    )
)
def test_no_line_is_lost_from_the_count(lines: list[tuple[str, int, float]]) -> None:
    """Written lines and what they count add up to all lines once each cause has had its turn again."""
    limit, now, written, counted = LogLimit(10), 0.0, 0, 0
    for event, cause, later in lines:
        now += later
        if passed := limit.passes(event, (str(cause),), now, MOST):
            written, counted = written + 1, counted + passed.repeated + passed.others
    for event in "ab":
        for cause in range(13):
            now += 11
            passed = limit.passes(event, (str(cause),), now, MOST)
            assert passed is not None
            counted += passed.repeated + passed.others
    assert written + counted == len(lines)


def test_memory_is_bounded_whatever_strangers_make_lines_of() -> None:
    limit = LogLimit(10)

    for number in range(20_000):
        limit.passes(f"event {number}", (str(number),), number, MOST)

    assert len(limit._causes) <= 4096
    assert len(limit._events) <= 4096
