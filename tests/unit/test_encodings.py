"""What strangers say goes through every form it is written in, and comes out as it was, or as harmless text."""

import email
import json
import re
from datetime import UTC, datetime
from email import policy
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bouncer.decide import Dsn, Failure
from bouncer.dsn.build import ReportingMta, build
from ingress.session.command import Command, Sender, parse, sender
from jetpost.cli.terminal import visible, visible_json
from jetpost.config.environment import overrides
from jetpost.events import record
from jetpost.mail.envelope import Origin, Recipient
from jetpost.mail.header import text_of
from jetpost.mail.outcome import Bounced
from jetpost.mail.parameters import MailParameters, mail_parameters, rcpt_parameters
from jetpost.mail.reply import EnhancedStatus, Reply
from jetpost.mail.trace import received
from jetpost.queue.model.states import State
from jetpost.users import read_users, remove_user, set_password
from tests.fixtures.accepted import ACCEPTED
from tests.fixtures.queue import fresh

NOW = datetime(2026, 11, 25, tzinfo=UTC)
NO_SUCH = EnhancedStatus(5, 1, 1)
ANYTHING = st.text(max_size=60)
ADDRESSES = ACCEPTED.map(lambda found: found.address)


@pytest.mark.parametrize(
    "text",
    [" ſIZE=1", " \u017fize=1", " BODY=8b\u0131tmime", " RET=ﬀull", " SIZE=²", " SIZE=\u0661", " ENVID=\u212a"],
)
def test_letters_and_digits_beyond_ascii_are_none_of_a_keyword(text: str) -> None:
    refusal = mail_parameters(text)
    assert isinstance(refusal, Reply)
    assert refusal.is_permanent


@pytest.mark.parametrize("line", ["ſtarttls", "ma\u0131l from:<a@b.test>", "\ufb06arttls", "noop\u00a0"])
def test_a_verb_is_ascii(line: str) -> None:
    found = parse(line.encode(), 512)
    assert isinstance(found, Command)
    assert found.verb not in {"STARTTLS", "MAIL", "NOOP"}


def test_no_letter_beyond_ascii_stands_in_postmaster() -> None:
    assert not isinstance(sender("FROM:<po\u017ftmaster@home.test>"), Sender)
    assert isinstance(sender("FROM:<po\u017ftmaster@home.test> SMTPUTF8"), Sender)
    assert not isinstance(sender("FROM:<po\u017ftmaster> SMTPUTF8"), Sender)


def test_blanks_beyond_ascii_belong_to_a_value() -> None:
    found = rcpt_parameters(" ORCPT=utf-8;a\u00a0b\u2003c@dest.test")
    assert not isinstance(found, Reply)
    assert found.orcpt == "utf-8;a\u00a0b\u2003c@dest.test"
    assert mail_parameters("  SIZE=1\tBODY=7BIT ") == MailParameters(size=1, body="7BIT")


@given(st.integers(0, 999), st.integers(0, 999), st.sampled_from([2, 4, 5]))
def test_a_status_comes_back(subject: int, detail: int, klass: int) -> None:
    status = EnhancedStatus(klass, subject, detail)
    assert EnhancedStatus.parse(str(status)) == status
    assert EnhancedStatus.parse(f"{klass}.\u0661.{detail}") is None


@given(ADDRESSES, ANYTHING, ANYTHING)
def test_a_dsn_has_the_fields_we_wrote_and_no_other(address: str, why: str, said: str) -> None:
    recipient = Recipient(address or "bob@dest.test", orcpt=f"utf-8;{address}" if address else "")
    failure = Failure(recipient, Bounced(NO_SUCH, why, Reply(550, NO_SUCH, (said,)) if said else None, "mx.test"))
    entry = msgspec.structs.replace(
        fresh(sender=address or "ann@home.test"),
        state=State.BOUNCE,
        failures=((failure.recipient, failure.outcome),),
        attempted=NOW,
    )
    dsn = Dsn(entry.envelope.reverse_path, (failure,))
    data = build(entry, dsn, b"Subject: x\r\n\r\n", whole=True, mta=ReportingMta("here.test", "Mail", "", NOW))
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)", data)
    assert data.partition(b"\r\n\r\n")[0].count(f"<{dsn.to}>".encode()) == 1
    status = data.split(b"delivery-status\r\n", 2)[1].partition(b"\r\n--")[0]
    names = re.findall(rb"^([A-Za-z-]+):", status, re.MULTILINE)
    assert [name.decode() for name in names] == [
        "Content-Transfer-Encoding",
        *("Reporting-MTA", "Arrival-Date", "X-Jetpost-Queue-Id"),
        *(["Original-Recipient"] if address else []),
        *("Final-Recipient", "Action", "Status", "Remote-MTA", "Diagnostic-Code", "Last-Attempt-Date"),
    ]
    assert email.message_from_bytes(data, policy=policy.SMTPUTF8).is_multipart()


@given(ADDRESSES, ANYTHING)
def test_an_event_is_one_line_and_comes_back(address: str, why: str) -> None:
    entry = fresh(sender=address)
    event = record.attempted(entry, Recipient(address), Bounced(NO_SUCH, why), NOW)
    line = record.encode(event)
    assert line.splitlines() == [line]
    assert record.decode(line) == event
    shown = visible_json(line.decode())
    assert json.loads(shown) == json.loads(line)
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", shown)


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"event":"delivered","x":' + b"[" * 100_000, b'{"event":1}', b"null"],
)
def test_what_is_no_event_is_none(line: bytes) -> None:
    assert record.decode(line) is None


@given(st.text())
def test_no_text_moves_the_cursor_of_a_terminal(text: str) -> None:
    assert visible(text).isprintable()
    assert len(visible(text)) == len(text)


@given(ADDRESSES, st.sampled_from(["client.test", "[127.0.0.1]", "a_b"]))
def test_a_trace_field_is_one_field(address: str, name: str) -> None:
    field = received(Origin("127.0.0.1", name, "ESMTP"), by="h.test", queue_id="06h0", recipient=address, now=NOW)
    lines = re.split(r"\r\n|\r|\n", text_of([field]))
    assert lines.pop() == ""
    assert [line[0] for line in lines] == ["R", "\t", "\t", "\t"]


@pytest.mark.parametrize("name", ["a b", "Ann", "jürgen", "ann@home.test", "a#b", "日本"])
def test_a_user_name_comes_back_from_the_users_file(tmp_path: Path, name: str) -> None:
    file = tmp_path / "users"
    assert set_password(file, "first", "1")
    assert set_password(file, name, "2")
    assert set(read_users(file)) == {"first", name}
    assert remove_user(file, name)
    assert set(read_users(file)) == {"first"}


@pytest.mark.parametrize(
    "name",
    ["", " ", "a:b", "#a", "a\nb", "a\x85b", "a\u2028b", "a\x1cb", "a\x0cb", "a\udc80", "\ufeffa", "a\tb", "a\x1b[m"],
)
def test_a_name_that_would_break_the_users_file_is_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / "users"
    set_password(file, "first", "1")
    with pytest.raises(ValueError, match="user name"):
        set_password(file, name, "2")
    assert set(read_users(file)) == {"first"}


def test_any_digits_in_a_variable_are_a_name_or_a_number() -> None:
    found = overrides(
        {"JETPOST_A__" + "9" * 5000: "x", "JETPOST_A__\u0663": "x", "JETPOST_A__²": "x", "JETPOST_A__3": "y"}
    )
    assert ("a", 3) in found
    assert len(found) == 4
