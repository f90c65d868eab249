"""Who is told of a failure, and the DSN's form (RFC 3464)."""

import dataclasses
import email
from datetime import UTC, datetime
from email.header import decode_header, make_header
from email.message import Message
from email.utils import parseaddr

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bouncer.decide import NOT_WANTED, NULL_SENDER, Dsn, decide
from bouncer.dsn.build import ReportingMta, build, header_block
from jetpost.mail.content import Inline
from jetpost.mail.envelope import Envelope, Origin, Recipient
from jetpost.mail.outcome import Bounced
from jetpost.mail.reply import EnhancedStatus, Reply
from jetpost.queue.model.entry import DomainToken, Entry, QueueId
from jetpost.queue.model.states import State

ARRIVED = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
TRIED = datetime(2026, 3, 4, 6, 0, 0, tzinfo=UTC)
SENT = datetime(2026, 3, 4, 6, 0, 9, tzinfo=UTC)
MTA = ReportingMta("jetpost.test", "Mail Delivery System", "Ask help@home.test.", SENT)
ORIGINAL = b"Received: from x\r\nSubject: hi\r\nMessage-ID: <1@home.test>\r\n\r\nbody\r\n"


def bounced(
    text: str = "no such user", *, recipient: Recipient | None = None, sender: str = "me@home.test", **envelope: str
) -> Entry:
    recipient = recipient or Recipient("bob@dest.test")
    reply = Reply(550, EnhancedStatus(5, 1, 1), (text,))
    return Entry(
        queue_id=QueueId("q1"),
        domain_token=DomainToken("dest_test"),
        state=State.BOUNCE,
        envelope=Envelope(
            reverse_path=sender,
            recipients=(recipient,),
            origin=Origin("127.0.0.1", "client.test", "ESMTP"),
            **envelope,  # type: ignore[arg-type] # envid and ret alone
        ),
        content=Inline(ORIGINAL),
        arrived=ARRIVED,
        expires=ARRIVED,
        attempted=TRIED,
        failures=((recipient, Bounced(EnhancedStatus(5, 1, 1), "refused", reply, "mx.dest.test")),),
    )


def built(entry: Entry, *, whole: bool = True, mta: ReportingMta = MTA) -> bytes:
    decision = decide(entry)
    assert isinstance(decision, Dsn)
    return build(entry, decision, ORIGINAL if whole else header_block(ORIGINAL), whole=whole, mta=mta)


def status_groups(data: bytes) -> list[Message]:
    parts = [part for part in email.message_from_bytes(data).walk() if "delivery-status" in part.get_content_type()]
    (status,) = parts
    groups = status.get_payload()
    assert isinstance(groups, list)
    return [group for group in groups if isinstance(group, Message)]


@pytest.mark.parametrize(
    ("notify", "told"),
    [((), True), (("FAILURE",), True), (("SUCCESS", "FAILURE"), True), (("NEVER",), False), (("DELAY",), False)],
)
def test_the_sender_is_told_unless_it_was_not_wanted(notify: tuple[str, ...], told: bool) -> None:
    decision = decide(bounced(recipient=Recipient("bob@dest.test", notify=notify)))
    assert isinstance(decision, Dsn) if told else decision == NOT_WANTED


def test_there_is_no_dsn_about_a_dsn() -> None:
    assert decide(bounced(sender="")) == NULL_SENDER


def test_the_dsn_has_the_form_and_the_fields_of_the_rfcs() -> None:
    message = email.message_from_bytes(built(bounced(envid="id+1")))
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["To"] == "<me@home.test>"
    assert message["Date"] == "Wed, 04 Mar 2026 06:00:09 +0000"
    assert message["In-Reply-To"] == "<1@home.test>"
    assert str(message["Message-ID"]).count("<") == 1
    about, one = status_groups(built(bounced(envid="id+1", recipient=Recipient("bob@dest.test", orcpt="rfc822;B@x"))))
    assert about["Reporting-MTA"] == "dns; jetpost.test"
    assert about["Original-Envelope-Id"] == "id+1"
    assert about["Arrival-Date"] == "Wed, 04 Mar 2026 05:06:07 +0000"
    assert one["Original-Recipient"] == "rfc822;B@x"
    assert one["Final-Recipient"] == "rfc822; bob@dest.test"
    assert one["Action"] == "failed"
    assert one["Status"] == "5.1.1"
    assert one["Remote-MTA"] == "dns; mx.dest.test"
    assert one["Diagnostic-Code"] == "smtp; 550 5.1.1 no such user"
    assert one["Last-Attempt-Date"] == "Wed, 04 Mar 2026 06:00:00 +0000"


@pytest.mark.parametrize(
    ("orcpt", "recipient", "told"),
    [
        ("rfc822;Bob+tag=1@Dest.test", "bob@dest.test", "rfc822;Bob+tag=1@Dest.test"),
        ("utf-8;jörg@dest.test", "jörg@dest.test", "utf-8;jörg@dest.test"),
        # The classic form is pure ASCII: RFC 6533, 3 has a way to write it.
        ("utf-8;jörg@dest.test", "bob@dest.test", r"utf-8;j\x{F6}rg@dest.test"),
    ],
)
def test_what_the_sender_gave_comes_back_decoded(orcpt: str, recipient: str, told: str) -> None:
    """Xtext is how SMTP carries it, not what the sender said (RFC 3461, 4.2 and 4.4; RFC 3464, 2.2.1 and 2.3.1)."""
    data = built(bounced(envid="a b=c+d", recipient=Recipient(recipient, orcpt=orcpt)))
    assert b"Original-Envelope-Id: a b=c+d\r\n" in data
    assert f"Original-Recipient: {told}\r\n".encode() in data


def test_what_was_never_attempted_has_no_date_of_an_attempt() -> None:
    _, one = status_groups(built(msgspec.structs.replace(bounced(), attempted=None)))
    assert "Last-Attempt-Date" not in one


@pytest.mark.parametrize(
    "name",
    ["Mail Delivery System", 'The "Mailer" \\ of, us <x>', "Zustelldienst für Grüße", "郵便" * 30, ""],
)
def test_a_reporting_mta_may_have_any_name(name: str) -> None:
    data = built(bounced(), mta=dataclasses.replace(MTA, name=name))
    assert data.isascii()
    assert all(len(line) <= 78 for line in header_block(data).split(b"\r\n"))
    display, address = parseaddr(email.message_from_bytes(data)["From"])
    assert (str(make_header(decode_header(display))), address) == (name, "MAILER-DAEMON@jetpost.test")


def test_eight_bits_are_announced_wherever_they_are() -> None:
    """What is outside says no less than what is inside (RFC 2045, 6.4)."""
    data = built(bounced(), mta=dataclasses.replace(MTA, contact="Hilfe: über help@home.test"))
    message = email.message_from_bytes(data)
    assert message["Content-Transfer-Encoding"] == "8bit"
    text = next(part for part in message.walk() if part.get_content_type() == "text/plain")
    assert "über".encode() in text.as_bytes()
    assert "Content-Transfer-Encoding" not in email.message_from_bytes(built(bounced()))


def test_the_message_or_its_header_is_returned() -> None:
    assert b"message/rfc822" in built(bounced())
    assert ORIGINAL in built(bounced())
    headers = built(bounced(), whole=False)
    assert b"text/rfc822-headers" in headers
    assert b"body\r\n" not in headers


def test_the_same_entry_makes_the_same_dsn() -> None:
    assert built(bounced()) == built(bounced())


def test_a_person_reads_who_said_what_and_what_it_means() -> None:
    text = built(bounced()).decode()
    assert "This address does not exist there" in text
    assert "mx.dest.test said: 550 5.1.1 no such user" in text
    assert "Ask help@home.test." in text


def test_an_internationalized_recipient_is_named_as_one() -> None:
    data = built(bounced(recipient=Recipient("jörg@dest.test")))
    assert b"message/global-delivery-status" in data
    assert "Final-Recipient: utf-8; jörg@dest.test".encode() in data


@given(st.text())
def test_what_a_hostile_server_says_never_becomes_a_field(text: str) -> None:
    data = built(bounced(text))
    about, one = status_groups(data)
    assert set(one.keys()) == {
        *("Final-Recipient", "Action", "Status", "Remote-MTA", "Diagnostic-Code", "Last-Attempt-Date")
    }
    assert set(about.keys()) == {"Reporting-MTA", "Arrival-Date", "X-Jetpost-Queue-Id"}
    assert all(len(line) <= 998 for line in data.split(b"\r\n"))


def test_a_part_of_a_message_has_a_dsn_of_its_own() -> None:
    other = msgspec.structs.replace(bounced(), domain_token=DomainToken("other_test"))
    assert bounced().dsn_id() != other.dsn_id()
    assert bounced().dsn_id() != bounced().part("b1").dsn_id()
