"""What attempts at a domain say, and what follows: attempts at a time, suspension."""

from hypothesis import given
from hypothesis import strategies as st

from delivery.shaping.adapt import Domain, Missed, Observation, Reached, adapt
from delivery.shaping.limits import LaneSettings

SETTINGS = LaneSettings(connections_per_site=4, first_connections=2, failures_to_suspend=3, suspend_s=60)
WIDE = LaneSettings(connections_per_site=20, first_connections=20, failures_to_suspend=5, suspend_s=60)


def applied(domain: Domain, observations: list[Observation], now: float, settings: LaneSettings = SETTINGS) -> Domain:
    for observed in observations:
        domain = adapt(domain, observed, now, settings)
    return domain


def test_a_domain_that_answers_gets_one_more_at_a_time_up_to_its_limit() -> None:
    domain = Domain.unknown(SETTINGS)
    seen = [domain.allowed]
    for _ in range(4):
        domain = adapt(domain, Reached(), 100, SETTINGS)
        seen.append(domain.allowed)
    assert seen == [2, 3, 4, 4, 4]


def test_a_domain_that_cannot_be_reached_is_suspended_and_then_probed_by_one_attempt() -> None:
    domain = Domain.unknown(SETTINGS)
    for _ in range(3):
        assert not domain.is_suspended(100)
        domain = adapt(domain, Missed(99, "refused"), 100, SETTINGS)
    assert domain.is_suspended(159)
    assert not domain.is_suspended(160)
    assert domain.allowed == 1
    again = adapt(domain, Missed(160, "refused"), 161, SETTINGS)
    assert again.is_suspended(220)
    assert not adapt(domain, Reached(), 161, SETTINGS).is_suspended(100)


def test_attempts_under_way_when_a_domain_is_suspended_do_not_prolong_that() -> None:
    """Twenty at a time began together, and end one after the other: five are enough, fifteen say nothing new."""
    domain = Domain.unknown(WIDE)
    suspended = applied(domain, [Missed(90, "timed out")] * 5, 100, WIDE)
    assert suspended.is_suspended(100)
    assert applied(suspended, [Missed(90, "timed out")] * 15, 130, WIDE) == suspended


@given(st.lists(st.booleans(), max_size=40))
def test_each_of_many_attempts_at_a_time_counts(answers: list[bool]) -> None:
    """Whatever the order in which they end: the slots stay within their bounds, and failures in a row suspend."""
    domain = Domain.unknown(SETTINGS)
    in_a_row = 0
    for answer in answers:
        domain = adapt(domain, Reached() if answer else Missed(99, "refused"), 100, SETTINGS)
        in_a_row = 0 if answer else in_a_row + 1
        assert 1 <= domain.allowed <= SETTINGS.connections_per_site
        assert domain.is_suspended(100) == (in_a_row >= SETTINGS.failures_to_suspend)
