"""What follows from an attempt: the entries that take the place of the one attempted."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import assert_never

from delivery.retry import RetryPolicy, backoff
from jetpost.mail.envelope import Recipient
from jetpost.mail.outcome import Bounced, Deferred, Delivered, Discarded, Outcome
from jetpost.mail.reply import EnhancedStatus
from jetpost.queue.model.entry import Entry
from jetpost.queue.model.states import State

CONGESTED = EnhancedStatus(4, 4, 5)
"""Mail system congestion (RFC 3463, 3.5)."""
UNTRIED = Deferred(EnhancedStatus(4, 4, 7), "it was never tried")
"""4.4.7, delivery time expired, is the status only where no attempt gave a better one (RFC 3463, 3.5)."""


def settle(
    entry: Entry,
    outcomes: Mapping[Recipient, Outcome],
    now: datetime,
    policy: RetryPolicy,
    *,
    jitter: float,
    may_expire: bool = True,
    not_before: datetime | None = None,
) -> tuple[Entry, ...]:
    """The successors of `entry` after an attempt that ended at `now`; none when everybody has the message.

    Deferred recipients are tried again while the entry lives, the last time when its lifetime ends; after that they
    have failed. Unless `may_expire`, as `now` is not trusted: then they are tried again. A recipient without an outcome
    counts as deferred: nobody may be lost. `not_before` is set when recipients are deferred only because their route is
    throttled, and says until when: such an attempt makes the next waits no longer.
    """
    attempts = entry.attempts + 1
    deferred: list[tuple[Recipient, Deferred]] = []
    failed: list[tuple[Recipient, Outcome]] = []
    for recipient in entry.envelope.recipients:
        match outcomes.get(recipient, UNTRIED):
            case Delivered() | Discarded():
                pass  # nothing follows
            case Deferred() as outcome if now < entry.expires or not may_expire:
                deferred.append((recipient, outcome))
            case Deferred() as outcome:
                failed.append((recipient, _expired(outcome, now - entry.arrived)))
            case Bounced() as outcome:
                failed.append((recipient, outcome))
            case unknown:
                assert_never(unknown)
    successors = []
    if deferred:
        throttled = entry.throttled + (not_before is not None)
        due = now + backoff(max(attempts - throttled, 1), policy, jitter=jitter)
        due = max(due, not_before or due)
        if now < entry.expires:
            due = min(due, entry.expires)
        again = entry.for_recipients(tuple(recipient for recipient, _ in deferred))
        last = deferred[-1][1]
        successors.append(
            again.moved(State.RETRY, attempts=attempts, throttled=throttled, attempted=now, due=due, last=last)
        )
    if failed:
        # A key never has two live entries: beside a retry, the bounce is a part with an id of its own.
        bounced = entry.part(f"b{attempts}") if deferred else entry
        successors.append(_bounce(bounced, failed, attempts, now))
    return tuple(successors)


def postpone(entry: Entry, why: str, now: datetime, due: datetime) -> Entry | None:
    """The successor of an entry whose route is congested or throttled: it comes back when `due`, and was no attempt.

    None when its lifetime has ended.
    """
    if now >= entry.expires:
        return None
    return entry.moved(State.RETRY, due=min(due, entry.expires), last=Deferred(CONGESTED, why))


def expire(entry: Entry, now: datetime) -> tuple[Entry, ...]:
    """The successor of an entry whose lifetime ended while it waited: every recipient has failed, for the last reason.

    For the watchdog: an attempt that is due at `entry.expires` is the entry's last and deserves some grace before.
    ValueError while the entry still lives.
    """
    if now < entry.expires:
        raise ValueError(f"{entry.queue_id} lives until {entry.expires}")
    last = entry.last if isinstance(entry.last, Deferred) else UNTRIED
    outcome = _expired(last, now - entry.arrived)
    last_try = entry.attempted or now
    return (
        _bounce(entry, [(recipient, outcome) for recipient in entry.envelope.recipients], entry.attempts, last_try),
    )


def _bounce(entry: Entry, failed: list[tuple[Recipient, Outcome]], attempts: int, attempted: datetime) -> Entry:
    some = entry.for_recipients(tuple(recipient for recipient, _ in failed))
    return some.moved(State.BOUNCE, attempts=attempts, attempted=attempted, due=None, failures=tuple(failed))


def _expired(last: Deferred, after: timedelta) -> Bounced:
    """The end of patience. The status stays that of the actual problem, as RFC 3463, 3.5 asks under X.4.7."""
    return Bounced(last.status, f"gave up after {_rounded(after)}: {last.why}", last.reply, last.host, expired=True)


def _rounded(span: timedelta) -> str:
    for unit, seconds in (("day", 86400), ("hour", 3600), ("minute", 60)):
        count = round(span.total_seconds() / seconds)
        if count > 1:
            return f"{count} {unit}s"
    return f"{span.total_seconds():.0f} seconds"
