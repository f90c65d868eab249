"""How much of what a delivery process may hold."""

import pytest

from delivery.shaping.limits import Admission, LaneSettings, Load, admit, affordable, is_near_quarantine

SETTINGS = LaneSettings(
    connections_per_domain=4, first_connections=2, waiting_per_domain=3, claims=100, failures_to_suspend=3, suspend_s=60
)


@pytest.mark.parametrize(
    ("load", "admission"),
    [
        (Load(active=0, waiting=0, allowed=2, claims=0), Admission.WAIT),
        (Load(active=2, waiting=0, allowed=2, claims=2), Admission.WAIT),
        (Load(active=2, waiting=3, allowed=2, claims=5), Admission.PARK),
        (Load(active=2, waiting=0, allowed=2, claims=50), Admission.PARK),  # busy, and memory is half full
        (Load(active=1, waiting=0, allowed=2, claims=99), Admission.WAIT),  # a free slot costs nobody anything
    ],
)
def test_an_entry_waits_in_memory_only_where_that_costs_nobody(load: Load, admission: Admission) -> None:
    assert admit(load, SETTINGS) is admission


@pytest.mark.parametrize(
    ("wanted", "files", "had"),
    [
        (1000, 1_048_576, 1000),
        (1000, 1400, 1000),
        (1000, 1024, 624),
        (1000, 256, 128),
        (50, 256, 50),
        (1000, 1, 1),
    ],
)
def test_connections_leave_room_for_the_other_files_of_a_process(wanted: int, files: int, had: int) -> None:
    assert affordable(wanted, files) == had


@pytest.mark.parametrize(
    ("times", "quarantine_after", "near_quarantine"), [(1, 30, False), (15, 30, False), (16, 30, True), (1, 2, False)]
)
def test_an_entry_with_many_naks_is_counted_anew_long_before_its_quarantine(
    times: int, quarantine_after: int, *, near_quarantine: bool
) -> None:
    assert is_near_quarantine(times, quarantine_after) is near_quarantine
