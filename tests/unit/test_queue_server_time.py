"""Whether a clock can be trusted: decided from what servers say, and from two clocks of ours."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetpost.queue.clock.server_time import Answer, Reading, agreed, ahead, corrected, doubt, spread

NOW = 1_800_000_000.0
DAYS = 86400.0
TOLERANCE_S = 60.0


def answers(*offsets: float, within_s: float = 0.0) -> list[Answer]:
    """What servers answer whose clocks are so far ahead of ours."""
    return [Answer(NOW, NOW + within_s / 2 + offset, NOW + within_s) for offset in offsets]


def reading(offset: float, uncertainty: float = 0.0) -> Reading:
    return Reading(offset, uncertainty, NOW, 100.0)


@pytest.mark.parametrize(
    ("offsets", "offset"),
    [
        ([0], 0),
        ([6 * DAYS], 6 * DAYS),
        ([0, 1, 2], 1),
        ([0, 0, 6 * DAYS], 0),
        ([-6 * DAYS, 0, 1], 0),
        ([6 * DAYS, 6 * DAYS, 0], 6 * DAYS),
        ([0, 6 * DAYS], 0),
        ([6 * DAYS, 6 * DAYS], 6 * DAYS),
        ([0, 0, 0, 0, 9 * DAYS], 0),
        ([0, 1, 9 * DAYS, 9 * DAYS], 1),
    ],
)
def test_who_is_in_the_middle_is_believed(offsets: list[float], offset: float) -> None:
    assert agreed(answers(*offsets))[0] == offset


def test_the_server_that_is_wrong_is_named() -> None:
    assert spread(answers(0, 6 * DAYS, 0)) == [0, 6 * DAYS, 0]


@pytest.mark.parametrize(
    ("offset", "uncertainty", "elapsed", "stepped", "trusted"),
    [
        (0, 0, 0, 0, True),
        (59, 0, 0, 0, True),
        (61, 0, 0, 0, False),
        (-61, 0, 0, 0, False),
        (6 * DAYS, 0, 10, 0, False),
        # An answer that took long says little.
        (61, 5, 0, 0, True),
        (6 * DAYS, 5, 0, 0, False),
        # It was set, or the machine was suspended, since.
        (0, 0, 10, 6 * DAYS, False),
        (0, 0, 10, -6 * DAYS, False),
        (6 * DAYS, 0, 10, 6 * DAYS, True),
        (0, 0, 10 * DAYS, 0, True),
    ],
)
def test_a_clock_is_trusted_within_the_bound(
    offset: float, uncertainty: float, elapsed: float, stepped: float, trusted: bool
) -> None:
    found = doubt(reading(offset, uncertainty), NOW + elapsed + stepped, 100 + elapsed, TOLERANCE_S)
    assert (found is None) is trusted
    assert found is None or " s " in found


def test_nobody_trusts_a_clock_that_was_never_compared() -> None:
    assert doubt(None, NOW, 100.0, TOLERANCE_S) is not None


@given(st.floats(-(10**8), 10**8), st.floats(0, 10**6), st.floats(-(10**8), 10**8))
def test_what_is_corrected_is_the_servers_time_whatever_was_done_to_ours(
    offset: float, elapsed: float, stepped: float
) -> None:
    known = reading(offset)
    servers = NOW + offset + elapsed
    ours = NOW + elapsed + stepped
    assert corrected(known, 100 + elapsed) == pytest.approx(servers, abs=1e-3)
    assert ahead(known, ours, 100 + elapsed) == pytest.approx(ours - servers, abs=1e-3)


@given(st.lists(st.floats(-30, 30), min_size=1, max_size=7), st.floats(-(10**7), 10**7))
def test_one_wrong_server_among_right_ones_makes_nobody_wrong(right: list[float], wrong: float) -> None:
    offsets = [*right, wrong] if len(right) > 1 else right
    assert -30 <= agreed(answers(*offsets))[0] <= 30
