from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from delivery.retry import RetryPolicy, backoff

POLICY = RetryPolicy(first_s=300, cap_s=14_400, spread=0.2)


@pytest.mark.parametrize(
    ("attempts", "minutes"),
    [(1, 5), (2, 10), (3, 20), (4, 40), (5, 80), (6, 160), (7, 240), (8, 240), (1000, 240)],
)
def test_the_wait_doubles_up_to_the_cap(attempts: int, minutes: int) -> None:
    assert backoff(attempts, POLICY, jitter=0.5) == timedelta(minutes=minutes)


@pytest.mark.parametrize(("jitter", "seconds"), [(0.0, 240), (0.25, 270), (0.5, 300), (0.75, 330)])
def test_the_wait_is_spread(jitter: float, seconds: int) -> None:
    assert backoff(1, POLICY, jitter=jitter) == timedelta(seconds=seconds)


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_the_wait_stays_within_its_bounds(attempts: int, jitter: float) -> None:
    wait = backoff(attempts, POLICY, jitter=jitter).total_seconds()
    assert 300 * 0.8 <= wait <= 14_400 * 1.2


def test_after_the_first_tries_the_wait_is_half_an_hour_or_more_by_default() -> None:
    assert backoff(5, RetryPolicy(), jitter=0) >= timedelta(minutes=30)


def test_a_cap_below_the_first_wait_is_refused() -> None:
    with pytest.raises(ValidationError, match="cap_s"):
        RetryPolicy(first_s=60, cap_s=30)
