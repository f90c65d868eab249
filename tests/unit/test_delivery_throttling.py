"""Which replies are a limit of the host, and for how long it is left alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.classify.phases import ConnectionBroke, Phase
from delivery.classify.throttling import is_throttling
from delivery.shaping.permits import permits
from delivery.shaping.throttles import Backoff, RouteHost, Throttles
from jetpost.mail.reply import Reply

LATE = (Phase.MAIL, Phase.DATA, Phase.END_OF_DATA)
ALL = (Phase.GREETING, Phase.EHLO, Phase.AUTH, Phase.RCPT, *LATE)
THROTTLES: list[tuple[str, tuple[Phase, ...]]] = [
    ("421 4.7.0 Error: too many connections from 192.0.2.1", ALL),
    ("421 4.3.2 Service not available, closing transmission channel", ALL),
    ("421 4.7.28 Our system has detected an unusual rate of unsolicited mail", ALL),
    ("421 try later", ALL),
    ("454 Throttling failure: Maximum sending rate exceeded.", ALL),
    ("454 Throttling failure: Daily message quota exceeded.", ALL),
    ("454 4.7.0 Too many login attempts, please try again later.", (Phase.AUTH,)),
    ("454 4.7.0 Temporary authentication failure", (Phase.AUTH,)),
    ("432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending", ALL),
    ("432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded", ALL),
    ("451 4.7.500 Server busy. Please try again later from [192.0.2.1]. (S77719)", ALL),
    ("451 4.7.651 The mail server [192.0.2.1] has been temporarily rate limited due to IP reputation", ALL),
    ("450 4.2.1 Peak SMTP relay limit exceeded for customer. This is a temporary error.", ALL),
    ("451 4.4.5 congestion", ALL),
    ("452 4.5.3 Too many recipients", ALL),
    ("450 4.7.1 Error: too much mail from 192.0.2.1", ALL),
    ("450 4.7.1 not now", LATE),
    ("451 4.7.0 Temporary server error. Please try again later. PRX2", ALL),
    ("450 4.7.26 sending limit reached", ALL),
    ("451 Come back later", LATE),
    ("450 4.0.0 unusual sending activity", ALL),
    ("450 Too many requests", ALL),
    ("452 Too many recipients received this hour", ALL),
    ("451 You have exceeded the number of messages of your quota", ALL),
    ("450 sending limit reached", ALL),
    ("451 Server is too busy", ALL),
    ("451 Please slow down", ALL),
    ("451 Temporary local problem - please try again later", LATE),
]
OTHERWISE: list[tuple[str, tuple[Phase, ...]]] = [
    ("250 2.0.0 ok, at a rate of 5", ALL),
    ("550 5.4.5 Daily user sending limit exceeded", ALL),
    ("554 5.7.1 too many complaints, throttled", ALL),
    ("451 4.7.1 greylisted, come back later", ALL),
    ("450 4.2.0 <bob@dest.test>: Recipient address rejected: Greylisted, please try again later", ALL),
    ("451 4.7.1 not now", (Phase.RCPT,)),
    ("450 4.2.1 The user you are trying to contact is receiving mail at a rate that prevents", ALL),
    ("452 4.2.2 mailbox quota exceeded", ALL),
    ("452 4.2.2 <bob@dest.test> Quota exceeded", ALL),
    ("450 4.2.2 The user has exceeded the size limit", ALL),
    ("450 mailbox busy, try again later", (Phase.RCPT,)),
    ("454 4.7.1 <bob@dest.test>: Relay access denied", ALL),
    ("454 TLS not available due to temporary reason", (Phase.STARTTLS,)),
    ("421 4.4.2 mx.test Error: timeout exceeded", ALL),
    ("451 4.3.0 temporary lookup failure", ALL),
    ("451 4.7.24 SPF validation error, try again later", ALL),
    ("451 4.7.1 Try again later", (Phase.RCPT,)),
    ("450 4.7.17 the owner of the address has changed", ALL),
    ("452 4.3.1 insufficient system storage", ALL),
    ("450 4.1.8 sender domain not found, separate words", ALL),
]
TINY = 1e-6
"""What sums of floats may differ by."""


def heard(line: str) -> Reply:
    return Reply.heard(int(line[:3]), [line[4:]])


@pytest.mark.parametrize(("line", "phases"), THROTTLES, ids=lambda it: it if isinstance(it, str) else "")
def test_a_limit_of_the_host_is_known_by_its_reply(line: str, phases: tuple[Phase, ...]) -> None:
    for phase in phases:
        assert is_throttling(phase, heard(line), of_recipient=phase is Phase.RCPT), phase


@pytest.mark.parametrize(("line", "phases"), OTHERWISE, ids=lambda it: it if isinstance(it, str) else "")
def test_what_concerns_a_recipient_or_is_final_is_no_limit(line: str, phases: tuple[Phase, ...]) -> None:
    for phase in phases:
        assert not is_throttling(phase, heard(line), of_recipient=phase is Phase.RCPT), phase


def test_a_connection_that_broke_is_no_limit() -> None:
    assert not is_throttling(Phase.MAIL, ConnectionBroke("too many connections"))


A, B = RouteHost("smart", "", "a.test", 587), RouteHost("smart", "", "b.test", 587)
SETTINGS = Backoff(first_s=10, cap_s=60, spread=0)


def throttled(throttles: Throttles, host: RouteHost, began: float, now: float) -> float | None:
    """How long the pause is."""
    pause = throttles.throttled(host, began, now, "421", early=False, jitter=0.5)
    return None if pause is None else pause.until - now


def test_pauses_double_up_to_the_cap_until_a_message_is_accepted() -> None:
    throttles, now = Throttles(SETTINGS, 10), 0.0
    for seconds in (10, 20, 40, 60, 60):
        assert throttled(throttles, A, now, now) == seconds
        now += seconds
    assert throttles.accepted(A, now)
    assert throttles.pause([A], now) is None
    assert throttled(throttles, A, now, now) == 10


def test_what_was_under_way_when_the_pause_began_neither_prolongs_nor_ends_it() -> None:
    throttles = Throttles(SETTINGS, 10)
    throttled(throttles, A, 1, 5)

    assert throttled(throttles, A, 4, 6) is None
    assert not throttles.accepted(A, 4)
    pause = throttles.pause([A], 14.9)
    assert pause is not None
    assert pause.until == 15
    assert throttles.pause([A], 15) is None


def test_a_route_is_paused_until_the_first_of_its_hosts_can_be_tried() -> None:
    throttles = Throttles(SETTINGS, 10)
    throttled(throttles, A, 0, 0)
    assert throttles.pause([A, B], 1) is None

    throttled(throttles, B, 2, 2)
    pause = throttles.pause([A, B], 3)
    assert pause is not None
    assert pause.until == 10
    assert throttles.pause([], 3) is None


def test_a_pause_of_long_ago_does_not_make_the_next_one_longer() -> None:
    throttles = Throttles(SETTINGS, 10)
    throttled(throttles, A, 0, 0)
    assert throttles.is_slow([A], 69)
    assert not throttles.is_slow([A], 70)
    assert throttled(throttles, A, 70, 70) == 10


def test_only_so_many_hosts_are_remembered() -> None:
    throttles = Throttles(SETTINGS, 3)
    hosts_of_route = [RouteHost("mx", f"d{number}.test", "mx.test", 25) for number in range(5)]
    for host in hosts_of_route:
        throttled(throttles, host, 0, 0)
    assert [throttles.pause([host], 1) is not None for host in hosts_of_route] == [False, False, True, True, True]


@given(
    st.lists(
        st.tuples(st.sampled_from(["throttled", "accepted"]), st.floats(0, 100), st.floats(0, 1, exclude_max=True))
    )
)
def test_a_pause_is_never_shorter_or_longer_than_its_bounds(steps: list[tuple[str, float, float]]) -> None:
    settings, now = Backoff(first_s=10, cap_s=60, spread=0.2), 0.0
    throttles = Throttles(settings, 10)
    for what, later, jitter in steps:
        now += later
        if what == "accepted":
            throttles.accepted(A, now)
            assert throttles.pause([A], now) is None
            continue
        pause = throttles.throttled(A, now, now, "421", early=False, jitter=jitter)
        assert pause is not None
        assert 8 - TINY <= pause.until - now <= 72 + TINY
        assert throttles.pause([A], now) == pause


def test_attempts_are_halved_and_come_back_one_by_one() -> None:
    unlimited = permits(None, 1000, 8)
    unlimited.used = 7
    unlimited.halve()
    assert unlimited.allowed == 3
    unlimited.used = 1
    for _ in range(3):
        unlimited.halve()
    assert unlimited.allowed == 1
    for _ in range(6):
        unlimited.grow()
    assert unlimited.allowed == 7
    unlimited.grow()
    assert unlimited.allowed == float("inf")

    limited = permits(4, 1000, 1000)
    limited.used = 4
    limited.halve()
    for _ in range(9):
        limited.grow()
    assert limited.allowed == 4
