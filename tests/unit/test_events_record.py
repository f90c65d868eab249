"""Events as JSON lines, readable by older and newer versions."""

from datetime import UTC, datetime, timedelta

import pytest

from jetpost.events.record import Bounced, Deferred, Delivered, Discarded, Expired, attempted, decode, encode, received
from jetpost.mail.envelope import Recipient
from jetpost.mail.outcome import Bounced as BouncedOutcome
from jetpost.mail.outcome import Deferred as DeferredOutcome
from jetpost.mail.outcome import Delivered as DeliveredOutcome
from jetpost.mail.outcome import Discarded as DiscardedOutcome
from jetpost.mail.outcome import Outcome
from jetpost.mail.reply import EnhancedStatus, Reply
from tests.fixtures.queue import fresh

LATER, NEVER = EnhancedStatus(4, 2, 0), EnhancedStatus(5, 1, 1)


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (DeliveredOutcome(Reply(250), "mx"), Delivered),
        (DiscardedOutcome("discarded by route trap"), Discarded),
        (DeferredOutcome(LATER, "greylisted", None, "mx"), Deferred),
        (BouncedOutcome(NEVER, "unknown", None, "mx"), Bounced),
        (BouncedOutcome(LATER, "gave up", None, "mx", expired=True), Expired),
    ],
)
def test_an_outcome_is_told_as_what_it_is(outcome: Outcome, kind: type) -> None:
    entry = fresh()
    event = attempted(entry, Recipient("ann@dest.test"), outcome, entry.arrived + timedelta(seconds=2))
    assert type(event) is kind
    assert (event.queue_id, event.domain) == (entry.queue_id, "dest.test")
    assert decode(encode(event)) == event


def test_the_route_and_its_port_are_told_where_there_are_any() -> None:
    entry, outcome = fresh(), DeliveredOutcome(Reply(250), "mx")
    by_route = attempted(entry, Recipient("ann@dest.test"), outcome, entry.arrived, "smart/fallback", 2525)
    assert isinstance(by_route, Delivered)
    assert (by_route.route, by_route.port) == ("smart/fallback", 2525)
    assert decode(encode(by_route)) == by_route
    directly = encode(attempted(entry, Recipient("ann@dest.test"), outcome, entry.arrived))
    assert b"route" not in directly
    assert b"port" not in directly
    assert isinstance(decode(directly), Delivered)  # as an earlier version wrote it


def test_an_acceptance_is_told_with_its_recipients_and_size_but_never_its_content() -> None:
    entry = fresh()
    event = received(entry)
    assert (event.recipients, event.size) == (("ann@dest.test",), entry.size)
    assert b"hello" not in encode(event)


def test_what_a_newer_version_tells_is_passed_over() -> None:
    time = datetime.now(UTC).isoformat()
    line = f'{{"event":"teleported","time":"{time}","queue_id":"q","domain":"d","reverse_path":""}}'
    assert decode(line.encode()) is None
    assert decode(b"no json at all") is None
