from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.retry import RetryPolicy
from delivery.settle import expire, settle
from jetpost.mail.content import Inline
from jetpost.mail.envelope import Envelope, Origin, Recipient
from jetpost.mail.outcome import Bounced, Deferred, Delivered, Outcome
from jetpost.mail.reply import EnhancedStatus, Reply
from jetpost.queue.model.entry import Entry, QueueId, token_of
from jetpost.queue.model.states import State

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
DAYS = timedelta(days=5)
POLICY = RetryPolicy(first_s=300, cap_s=14_400, spread=0)
ANN, BOB, EVE = (Recipient(f"{name}@dest.test") for name in ("ann", "bob", "eve"))
TAKEN = Delivered(Reply(250), "mx.dest.test")
LATER = Deferred(EnhancedStatus(4, 2, 0), "greylisted", Reply(451), "mx.dest.test")
NEVER = Bounced(EnhancedStatus(5, 1, 1), "no such user", Reply(550), "mx.dest.test")
GIVEN_UP = Bounced(LATER.status, "gave up after 5 days: greylisted", LATER.reply, LATER.host, expired=True)


def an_entry(*recipients: Recipient, lives: timedelta = DAYS, lifetime: timedelta = DAYS, attempts: int = 0) -> Entry:
    """An entry that has been attempted so often and `lives` on from NOW."""
    fresh = Entry.fresh(
        queue_id=QueueId("q1"),
        domain_token=token_of("dest.test"),
        envelope=Envelope(
            reverse_path="me@home.test", recipients=recipients, origin=Origin("192.0.2.1", "pc", "ESMTP")
        ),
        content=Inline(b"Subject: hello\r\n\r\nhello\r\n"),
        trace="",
        now=NOW + lives - lifetime,
        lifetime=lifetime,
    )
    if attempts:
        due = NOW - timedelta(seconds=1)
        return fresh.moved(State.RETRY, attempts=attempts, due=due, last=LATER).moved(State.READY)
    return fresh


def settled(entry: Entry, outcomes: Mapping[Recipient, Outcome]) -> tuple[Entry, ...]:
    return settle(entry, outcomes, NOW, POLICY, jitter=0.5)


def test_nothing_follows_when_everybody_has_the_message() -> None:
    assert settled(an_entry(ANN, BOB), {ANN: TAKEN, BOB: TAKEN}) == ()


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ({ANN: LATER}, [(State.RETRY, "q1", (ANN,))]),
        ({ANN: NEVER}, [(State.BOUNCE, "q1", (ANN,))]),
        ({ANN: TAKEN, BOB: LATER}, [(State.RETRY, "q1", (BOB,))]),
        ({ANN: TAKEN, BOB: NEVER}, [(State.BOUNCE, "q1", (BOB,))]),
        ({ANN: LATER, BOB: NEVER}, [(State.RETRY, "q1", (ANN,)), (State.BOUNCE, "q1-b3", (BOB,))]),
        ({ANN: NEVER, BOB: TAKEN, EVE: LATER}, [(State.RETRY, "q1", (EVE,)), (State.BOUNCE, "q1-b3", (ANN,))]),
    ],
)
def test_who_goes_where(
    outcomes: dict[Recipient, Outcome], expected: list[tuple[State, str, tuple[Recipient, ...]]]
) -> None:
    successors = settled(an_entry(*outcomes, attempts=2), outcomes)
    assert [(entry.state, entry.queue_id, entry.envelope.recipients) for entry in successors] == expected


def test_a_retry_says_when_and_why() -> None:
    (retry,) = settled(an_entry(ANN, attempts=2), {ANN: LATER})
    assert (retry.attempts, retry.due, retry.last) == (3, NOW + timedelta(minutes=20), LATER)


def test_a_bounce_says_who_failed_and_how() -> None:
    (bounce,) = settled(an_entry(ANN, BOB, attempts=2), {ANN: TAKEN, BOB: NEVER})
    assert (bounce.attempts, bounce.due, bounce.failures) == (3, None, ((BOB, NEVER),))


@pytest.mark.parametrize("lives_s", [1, 100, 299])
def test_the_last_attempt_is_due_when_the_lifetime_ends(lives_s: int) -> None:
    entry = an_entry(ANN, lives=timedelta(seconds=lives_s))
    (retry,) = settled(entry, {ANN: LATER})
    assert (retry.state, retry.due) == (State.RETRY, entry.expires)


def test_what_is_deferred_after_its_lifetime_bounces_with_the_last_reason() -> None:
    (bounce,) = settled(an_entry(ANN, BOB, lives=timedelta(0)), {ANN: LATER, BOB: NEVER})
    assert (bounce.state, bounce.queue_id) == (State.BOUNCE, "q1")
    assert bounce.failures == ((ANN, GIVEN_UP), (BOB, NEVER))


def test_a_recipient_without_an_outcome_is_not_lost() -> None:
    (retry,) = settled(an_entry(ANN, BOB), {ANN: TAKEN})
    assert (retry.state, retry.envelope.recipients) == (State.RETRY, (BOB,))


OUTCOMES: st.SearchStrategy[Outcome | None] = st.sampled_from([TAKEN, LATER, NEVER, None])


@given(
    st.lists(OUTCOMES, min_size=1, max_size=12),
    st.timedeltas(timedelta(days=-1), timedelta(days=5)),
    st.integers(0, 60),
    st.floats(0, 1, exclude_max=True),
)
def test_no_recipient_is_lost_or_doubled_and_one_successor_at_most_keeps_the_key(
    drawn: list[Outcome | None], lives: timedelta, attempts: int, jitter: float
) -> None:
    asked = {Recipient(f"user{number}@dest.test"): outcome for number, outcome in enumerate(drawn)}
    outcomes = {recipient: outcome for recipient, outcome in asked.items() if outcome is not None}
    entry = an_entry(*asked, lives=lives, attempts=attempts)

    successors = settle(entry, outcomes, NOW, RetryPolicy(), jitter=jitter)

    followed = [recipient for successor in successors for recipient in successor.envelope.recipients]
    taken = [recipient for recipient, outcome in outcomes.items() if outcome is TAKEN]
    assert sorted(recipient.address for recipient in followed + taken) == sorted(r.address for r in asked)
    keys = [successor.key for successor in successors]
    assert len(set(keys)) == len(keys)
    assert not keys or entry.key in keys
    assert successors == settle(entry, outcomes, NOW, RetryPolicy(), jitter=jitter), "a repeated move is the same move"
    for successor in successors:
        if successor.state is State.BOUNCE:
            assert tuple(recipient for recipient, _ in successor.failures) == successor.envelope.recipients
            assert all(isinstance(outcome, Bounced) for _, outcome in successor.failures)
        else:
            assert successor.due is not None
            assert NOW < successor.due <= entry.expires


@pytest.mark.parametrize("state", [State.READY, State.PARKED, State.RETRY])
def test_what_waited_too_long_fails_for_the_last_reason(state: State) -> None:
    entry = an_entry(ANN, BOB, lives=timedelta(0), attempts=7)
    (bounce,) = expire(entry if state is State.READY else entry.moved(state), NOW)
    assert (bounce.state, bounce.key, bounce.attempts, bounce.due) == (State.BOUNCE, entry.key, 7, None)
    assert bounce.failures == ((ANN, GIVEN_UP), (BOB, GIVEN_UP))


def test_what_was_never_tried_fails_for_its_age() -> None:
    (bounce,) = expire(an_entry(ANN, lives=timedelta(0)), NOW)
    why = "gave up after 5 days: it was never tried"
    assert bounce.failures == ((ANN, Bounced(EnhancedStatus(4, 4, 7), why, expired=True)),)


def test_what_still_lives_does_not_expire() -> None:
    with pytest.raises(ValueError, match="q1 lives until"):
        expire(an_entry(ANN, lives=timedelta(seconds=1)), NOW)


@pytest.mark.parametrize(
    ("lifetime", "words"),
    [
        (timedelta(days=5), "5 days"),
        (timedelta(days=1), "24 hours"),
        (timedelta(minutes=20), "20 minutes"),
        (timedelta(seconds=30), "30 seconds"),
    ],
)
def test_the_sender_is_told_how_long_it_was_tried(lifetime: timedelta, words: str) -> None:
    (bounce,) = settled(an_entry(ANN, lives=timedelta(0), lifetime=lifetime), {ANN: LATER})
    ((_, outcome),) = bounce.failures
    assert isinstance(outcome, Bounced)
    assert outcome.why == f"gave up after {words}: greylisted"


@pytest.mark.parametrize("lives", [timedelta(0), timedelta(days=-6), timedelta(days=-600)])
def test_who_does_not_trust_the_clock_gives_nobody_up_for_age(lives: timedelta) -> None:
    entry = an_entry(ANN, BOB, EVE, lives=lives, attempts=3)

    retry, bounce = settle(entry, {ANN: LATER, BOB: NEVER}, NOW, POLICY, jitter=0.5, may_expire=False)
    assert retry.state is State.RETRY
    assert retry.envelope.recipients == (ANN, EVE)
    assert retry.due is not None
    assert NOW < retry.due <= NOW + timedelta(seconds=POLICY.cap_s)
    assert [recipient for recipient, _ in bounce.failures] == [BOB]
