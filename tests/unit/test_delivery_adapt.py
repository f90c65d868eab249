"""What attempts at a domain say, and what follows: attempts at a time, suspension."""

from hypothesis import given
from hypothesis import strategies as st

from delivery.shaping.adapt import DomainHealth, Missed, Observation, Reached, adapt
from delivery.shaping.limits import LaneSettings

SETTINGS = LaneSettings(connections_per_domain=4, first_connections=2, failures_to_suspend=3, suspend_s=60)
WIDE = LaneSettings(connections_per_domain=20, first_connections=20, failures_to_suspend=5, suspend_s=60)


def applied(
    health: DomainHealth, observations: list[Observation], now: float, settings: LaneSettings = SETTINGS
) -> DomainHealth:
    for observed in observations:
        health = adapt(health, observed, now, settings)
    return health


def test_a_domain_that_answers_gets_one_more_at_a_time_up_to_its_limit() -> None:
    health = DomainHealth.unknown(SETTINGS)
    seen = [health.allowed]
    for _ in range(4):
        health = adapt(health, Reached(), 100, SETTINGS)
        seen.append(health.allowed)
    assert seen == [2, 3, 4, 4, 4]


def test_a_domain_that_cannot_be_reached_is_suspended_and_then_probed_by_one_attempt() -> None:
    health = DomainHealth.unknown(SETTINGS)
    for _ in range(3):
        assert not health.is_suspended(100)
        health = adapt(health, Missed(99, "refused"), 100, SETTINGS)
    assert health.is_suspended(159)
    assert not health.is_suspended(160)
    assert health.allowed == 1
    again = adapt(health, Missed(160, "refused"), 161, SETTINGS)
    assert again.is_suspended(220)
    assert not adapt(health, Reached(), 161, SETTINGS).is_suspended(100)


def test_attempts_under_way_when_a_domain_is_suspended_do_not_prolong_that() -> None:
    """Twenty at a time began together, and end one after the other: five are enough, fifteen say nothing new."""
    health = DomainHealth.unknown(WIDE)
    suspended = applied(health, [Missed(90, "timed out")] * 5, 100, WIDE)
    assert suspended.is_suspended(100)
    assert applied(suspended, [Missed(90, "timed out")] * 15, 130, WIDE) == suspended


@given(st.lists(st.booleans(), max_size=40))
def test_each_of_many_attempts_at_a_time_counts(answers: list[bool]) -> None:
    """Whatever the order in which they end: the slots stay within their bounds, and failures in a row suspend."""
    health = DomainHealth.unknown(SETTINGS)
    in_a_row = 0
    for answer in answers:
        health = adapt(health, Reached() if answer else Missed(99, "refused"), 100, SETTINGS)
        in_a_row = 0 if answer else in_a_row + 1
        assert 1 <= health.allowed <= SETTINGS.connections_per_domain
        assert health.is_suspended(100) == (in_a_row >= SETTINGS.failures_to_suspend)
