"""How the queue looks on a screen and as JSON."""

import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from jetpost.cli.queue import view
from jetpost.mail.content import Inline
from jetpost.mail.envelope import Envelope, Origin, Recipient
from jetpost.mail.outcome import Bounced, Deferred
from jetpost.mail.reply import EnhancedStatus, Reply
from jetpost.queue.listing import Depth
from jetpost.queue.model.entry import DomainToken, Entry, QueueId, token_of
from jetpost.queue.model.states import State
from jetpost.queue.model.unreadable import Unreadable
from jetpost.queue.storage.shard import StoredEntry

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
LATER = Deferred(EnhancedStatus(4, 7, 1), "greylisted", Reply(451, EnhancedStatus(4, 7, 1), ("later",)), "mx.dest.test")
NEVER = Bounced(EnhancedStatus(5, 4, 4), "the domain accepts no mail")


def entry(
    *addresses: str, state: State = State.READY, reverse_path: str = "me@home.test", **changes: Any
) -> StoredEntry:
    fresh = Entry.fresh(
        queue_id=QueueId("q1"),
        domain_token=token_of("dest.test"),
        envelope=Envelope(
            reverse_path=reverse_path,
            recipients=tuple(Recipient(address) for address in addresses),
            origin=Origin("192.0.2.1", "client.test", "ESMTPSA", identity="me"),
        ),
        content=Inline(b"Subject: hi\r\n\r\nsecret body\r\n"),
        trace="Received: from client.test\r\n",
        now=NOW - timedelta(minutes=90),
        lifetime=timedelta(days=5),
    )
    return StoredEntry(7, fresh if state is State.READY else fresh.moved(state, **changes), fresh.arrived)


def shown(renderable: Any) -> str:
    screen = io.StringIO()
    Console(width=200, file=screen).print(renderable)
    return screen.getvalue()


def test_depth_is_a_line_for_each_domain_the_deepest_first() -> None:
    domains = {
        (State.READY, DomainToken("a_test")): 1,
        (State.RETRY, DomainToken("b_test")): 5,
        (State.READY, DomainToken("b_test")): 2,
    }
    depth = Depth({State.READY: 3, State.RETRY: 5}, domains)

    lines = [line.split() for line in shown(view.depth_table(depth)).splitlines() if "test" in line or "all" in line]

    assert [[word for word in line if word not in "│┃"] for line in lines] == [
        ["b.test", "2", "·", "5", "·", "·"],
        ["a.test", "1", "·", "·", "·", "·"],
        ["all", "3", "0", "5", "0", "0"],
    ]
    assert view.depth_record(depth) == {
        "states": {"ready": 3, "parked": 0, "retry": 5, "bounce": 0, "held": 0},
        "domains": {"a.test": {"ready": 1}, "b.test": {"ready": 2, "retry": 5}},
    }


def test_an_entry_is_a_line_with_its_last_failure() -> None:
    retry = entry("ann@dest.test", state=State.RETRY, attempts=2, due=NOW + timedelta(minutes=5), last=LATER)

    text = shown(view.entries_view([(0, retry)], NOW, 200))

    for words in ("q1", "retry", "1.5 h", "5.0 min", "28 B", "me@home.test", "ann@dest.test", "451 4.7.1 later"):
        assert words in text


@pytest.mark.parametrize("width", [40, 80, 119, 120, 200])
def test_the_queue_id_is_whole_on_every_screen(width: int) -> None:
    long = "06h0jkw6zaagde2zfy-b12-ddf6e063e0123456789ab"
    one = entry("ann@dest.test", state=State.RETRY, attempts=2, due=NOW + timedelta(minutes=5), last=LATER)
    one = one._replace(entry=msgspec.structs.replace(one.entry, queue_id=QueueId(long)))
    console = Console(width=width, file=io.StringIO())

    console.print(view.entries_view([(0, one)], NOW, width), soft_wrap=width < view.TABLE_WIDTH)

    assert isinstance(console.file, io.StringIO)
    assert long in console.file.getvalue()


def test_a_narrow_screen_shows_all_that_a_wide_one_shows() -> None:
    one = entry("ann@dest.test", state=State.RETRY, attempts=2, due=NOW + timedelta(minutes=5), last=LATER)

    assert str(view.entries_view([(0, one)], NOW, 80)) == (
        "q1  retry  1.5 h  tries 2  next 5.0 min  28 B\n"
        "    me@home.test → ann@dest.test\n"
        "    451 4.7.1 later (mx.dest.test)"
    )


def test_many_recipients_are_counted_and_the_null_reverse_path_is_seen() -> None:
    text = shown(view.entries_view([(0, entry(*"abcde", reverse_path=""))], NOW, 200))

    assert "a, b, c and 2 more" in text
    assert "<>" in text


def test_what_a_stranger_wrote_cannot_control_the_terminal() -> None:
    text = shown(view.entries_view([(0, entry("\x1b[2Jann@[red]dest.test"))], NOW, 200))

    assert "\x1b" not in text
    assert "ann@[red]dest.test" in text


def test_a_message_is_shown_with_its_header_and_without_its_body() -> None:
    failures = ((Recipient("bob@dest.test"), NEVER),)
    text = shown(
        view.full_text(view.Shown(entry("bob@dest.test", state=State.BOUNCE, failures=failures), "Subject: hi"))
    )

    assert "bounce (sequence 7)" in text
    assert "client.test [192.0.2.1] with ESMTPSA me" in text
    assert "bob@dest.test: the domain accepts no mail" in text
    assert "Received: from client.test\nSubject: hi\n" in text
    assert "secret body" not in text


def test_a_record_is_for_programs_and_has_no_content() -> None:
    record = view.entry_record(entry("ann@dest.test", state=State.HELD, reason="by hand"))

    assert record["state"] == "held"
    assert record["reason"] == "by hand"
    assert record["domain"] == "dest.test"
    assert record["envelope"]["recipients"] == ({"address": "ann@dest.test"},)
    assert "secret" not in str(record)


def test_what_is_unreadable_has_a_line_with_its_reason_and_moves_no_cursor() -> None:
    odd = Unreadable("it has no\x1b[2J record", "mail.held.\x9b31m.x\u202e", 9, {"A\x07": "b"}, b"x" * 2000, NOW)
    found: view.Entries = [(0, entry("ann@dest.test")), (0, odd)]

    assert (
        shown(view.unreadable_lines(found, NOW)) == "u9  held  0 s  2.0 kB  unreadable: it has no\ufffd[2J record\n\n"
    )
    assert "u9" not in shown(view.entries_view(found, NOW, 200))
    assert not any(control in shown(view.unreadable_text(odd)) for control in "\x1b\x9b\x07\u202e")
    assert view.entry_record(odd)["unreadable"] == "it has no\x1b[2J record"


def test_a_token_of_no_domain_is_shown_as_it_is() -> None:
    depth = Depth({State.PARKED: 1}, {(State.PARKED, DomainToken("\x1b[31m*")): 1}, 2)
    assert "\ufffd[31m*" in shown(view.depth_table(depth))
    assert view.depth_record(depth)["strange"] == 2


STATUSES = st.builds(EnhancedStatus, st.sampled_from([4, 5]), st.integers(0, 999), st.integers(0, 999))
REPLIES = st.builds(lambda status: Reply(status.klass * 100 + 51, status, ("later",)), STATUSES)
OUTCOMES = st.one_of(
    st.builds(Deferred, STATUSES, st.just("why"), st.none() | REPLIES),
    st.builds(Bounced, STATUSES, st.just("why"), st.none() | REPLIES),
)


@given(st.none() | OUTCOMES.filter(lambda it: isinstance(it, Deferred)), st.lists(OUTCOMES, max_size=3))
def test_programs_get_a_status_as_text(last: Deferred | None, failures: list[Deferred | Bounced]) -> None:
    """In every record of an entry, wherever it stands."""
    stored = entry("ann@dest.test")
    failed = tuple((Recipient(f"r{number}@dest.test"), it) for number, it in enumerate(failures))
    changed = msgspec.structs.replace(stored.entry, last=last, failures=failed)
    stored = stored._replace(entry=changed)

    for record in (view.entry_record(stored), view.shown_record(view.Shown(stored, "Subject: hi\r\n"))):
        told = json.loads(json.dumps(record))
        assert "klass" not in json.dumps(told)
        found = [it[1] for it in told["failures"]]
        outcomes = [*([(last, told["last"])] if last else []), *zip(failures, found, strict=True)]
        for outcome, shown_outcome in outcomes:
            assert shown_outcome["status"] == str(outcome.status)
            assert ("reply" in shown_outcome) is (outcome.reply is not None)
            if outcome.reply is not None:
                assert shown_outcome["reply"]["status"] == str(outcome.reply.status)
                assert shown_outcome["reply"]["code"] == outcome.reply.code
        assert told["envelope"]["recipients"][0]["address"] == "ann@dest.test"
