"""When a server is restarted that a full disk has left something in."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetpost.store.full_disk import Volume
from jetpost.up.nats.outgrown import is_outgrown
from jetpost.up.nats.restarts import Restarts

GB = 1 << 30


@given(st.lists(st.floats(0, 5), max_size=300))
def test_restarts_that_do_not_help_are_ever_rarer(steps: list[float]) -> None:
    restarts, now, made = Restarts(), 1000.0, []
    for step in steps:
        now += step
        if restarts.may(now):
            made.append(now)
    pauses = [later - sooner for sooner, later in pairwise(made)]
    assert all(pause >= 20 * 2**number for number, pause in enumerate(pauses))


def test_the_first_is_at_once_and_a_later_fullness_counts_anew() -> None:
    restarts = Restarts()
    assert restarts.may(5.0)
    assert not restarts.may(24.0)
    assert restarts.may(26.0)
    assert not restarts.may(60.0)
    assert restarts.may(10_000.0)
    assert not restarts.may(10_019.0)
    assert restarts.may(10_021.0)


@pytest.mark.parametrize(
    ("limit", "stored", "free", "outgrown"),
    [
        (75 * GB, 10 * GB, 90 * GB, False),
        (75 * GB, 75 * GB, 25 * GB, False),  # the queue is as full as it may be
        (1 * GB, 1 * GB, 99 * GB, True),
        (0, 0, 100 * GB, True),
        (0, 0, 0, False),
        (15 * GB, 20 * GB, 0, False),  # started while the disk was full, and it still is
        (15 * GB, 20 * GB, 60 * GB, True),
        (30 * GB, 20 * GB, 80 * GB, False),  # less than it could be, but it takes mail
    ],
)
def test_a_limit_from_a_full_disk_is_outgrown_once_there_is_room(
    limit: int, stored: int, free: int, outgrown: bool
) -> None:
    assert is_outgrown(limit, stored, Volume(100 * GB, free, 0, 0)) is outgrown
