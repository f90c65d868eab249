"""What a message asks of a host, the commands for it, and the look into the content that goes before."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.attempt.commands import EightBit, Seen, mail_command, obstacle, rcpt_command
from delivery.attempt.scan import scan
from delivery.connect.extensions import Extensions, Limits, limits, offered
from jetpost.mail.content import Inline
from jetpost.mail.envelope import Envelope, Origin, Recipient
from jetpost.queue.model.entry import DomainToken, Entry, QueueId
from tests.fixtures.queue import fresh

BOB = Recipient("bob@dest.test")
EVERYTHING = {"SIZE": "0", "8BITMIME": "", "SMTPUTF8": "", "DSN": ""}
BEYOND_ASCII = Seen(header_is_ascii=True, is_ascii=False)
BEYOND_ASCII_AT_ONCE = Seen(header_is_ascii=False, is_ascii=False)


def entry(*recipients: Recipient, **envelope: Any) -> Entry:
    """100 bytes, 10 of them trace."""
    return Entry.fresh(
        queue_id=QueueId("q1"),
        domain_token=DomainToken("dest_test"),
        envelope=msgspec.structs.replace(
            Envelope(reverse_path="ann@home.test", recipients=recipients or (BOB,), origin=Origin("", "", "ESMTP")),
            **envelope,
        ),
        content=Inline(b"x" * 90),
        trace="12345678\r\n",
        now=datetime(2026, 11, 25, tzinfo=UTC),
        lifetime=timedelta(days=5),
    )


@pytest.mark.parametrize(
    ("envelope", "extensions", "command"),
    [
        ({}, {}, "MAIL FROM:<ann@home.test>"),
        ({}, EVERYTHING, "MAIL FROM:<ann@home.test> SIZE=100"),
        ({"reverse_path": ""}, {}, "MAIL FROM:<>"),
        ({"body": "8BITMIME", "smtputf8": True}, {}, "MAIL FROM:<ann@home.test>"),
        (
            {"body": "8BITMIME", "smtputf8": True},
            EVERYTHING,
            "MAIL FROM:<ann@home.test> SIZE=100 BODY=8BITMIME SMTPUTF8",
        ),
        (
            {"ret": "HDRS", "envid": "A+b c=1"},
            {"DSN": ""},
            "MAIL FROM:<ann@home.test> RET=HDRS ENVID=A+2Bb+20c+3D1",
        ),
        ({"ret": "HDRS", "envid": "A1"}, {"SIZE": ""}, "MAIL FROM:<ann@home.test> SIZE=100"),
    ],
)
def test_mail_says_what_the_host_understands(envelope: dict[str, Any], extensions: Extensions, command: str) -> None:
    assert mail_command(entry(**envelope), extensions) == command


@pytest.mark.parametrize(
    ("recipient", "extensions", "command"),
    [
        (BOB, EVERYTHING, "RCPT TO:<bob@dest.test>"),
        (Recipient("bob@dest.test", ("NEVER",)), {}, "RCPT TO:<bob@dest.test>"),
        (Recipient("bob@dest.test", ("NEVER",)), {"DSN": ""}, "RCPT TO:<bob@dest.test> NOTIFY=NEVER"),
        (
            Recipient("bob@dest.test", ("SUCCESS", "FAILURE"), "rfc822;Bob+Box@home.test"),
            {"DSN": ""},
            "RCPT TO:<bob@dest.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Bob+2BBox@home.test",
        ),
    ],
)
def test_rcpt_says_what_the_host_understands(recipient: Recipient, extensions: Extensions, command: str) -> None:
    assert rcpt_command(recipient, extensions) == command


@pytest.mark.parametrize(
    ("changes", "extensions", "eight_bit", "seen", "status"),
    [
        ({}, {}, "send", Seen(), None),
        ({}, {"SIZE": "99"}, "send", Seen(), "5.3.4"),
        ({}, {"SIZE": "100"}, "send", Seen(), None),
        ({}, {"SIZE": "0"}, "send", Seen(), None),
        ({}, {"SIZE": ""}, "send", Seen(), None),
        ({"reverse_path": "änn@home.test"}, {}, "send", Seen(), "5.6.7"),
        ({"reverse_path": "änn@home.test"}, EVERYTHING, "bounce", BEYOND_ASCII_AT_ONCE, None),
        ({"smtputf8": True}, {}, "send", Seen(), None),
        ({"smtputf8": True}, {}, "send", BEYOND_ASCII_AT_ONCE, "5.6.7"),
        ({"smtputf8": True}, {"SMTPUTF8": ""}, "send", BEYOND_ASCII_AT_ONCE, None),
        # Bytes beyond ASCII in a header of the old kind are a matter of 8 bits, not of SMTPUTF8.
        ({}, {}, "send", BEYOND_ASCII_AT_ONCE, None),
        ({}, {}, "bounce", BEYOND_ASCII_AT_ONCE, "5.6.3"),
        ({}, {}, "bounce", BEYOND_ASCII, "5.6.3"),
        ({}, {}, "bounce", Seen(), None),
        ({"body": "8BITMIME"}, {}, "bounce", Seen(), None),
        ({"body": "8BITMIME"}, {}, "send", BEYOND_ASCII, None),
        ({"body": "8BITMIME"}, {"8BITMIME": ""}, "bounce", BEYOND_ASCII, None),
    ],
)
def test_a_host_that_cannot_take_a_message_is_not_asked_to(
    changes: dict[str, Any], extensions: Extensions, eight_bit: str, seen: Seen, status: str | None
) -> None:
    found = obstacle(entry(**changes), [BOB], "mx.dest.test", extensions, eight_bit=EightBit(eight_bit), seen=seen)
    assert (None if found is None else str(found.status)) == status


def test_an_internationalized_recipient_needs_smtputf8() -> None:
    recipients = [BOB, Recipient("jürgen@dest.test")]
    found = obstacle(entry(), recipients, "mx", {}, eight_bit=EightBit.SEND, seen=Seen())
    assert found is not None
    assert str(found.status) == "5.6.7"


@given(
    header=st.sampled_from([b"A: b\r\nC: d", b"A: \xc3\xbc", b""]),
    body=st.sampled_from([b"\r\n\r\nplain\r\n", b"\r\n\r\n\xc3\xbc\r\n", b"\r\n\r\n", b"\r\n"]),
    cuts=st.lists(st.integers(0, 30), max_size=5),
    whole=st.booleans(),
)
async def test_a_scan_sees_the_same_however_the_content_is_cut(
    header: bytes, body: bytes, cuts: list[int], *, whole: bool
) -> None:
    content = header + body
    ends = sorted({*(cut for cut in cuts if cut < len(content)), len(content)})

    async def chunks() -> AsyncIterator[bytes]:
        begin = 0
        for end in ends:
            yield content[begin:end]
            begin = end

    seen = await scan(chunks, whole=whole)

    assert seen.header_is_ascii == header.isascii()
    if whole:
        assert seen.is_ascii == content.isascii()


@pytest.mark.parametrize("limit", ["²", "\u0661", "9" * 5000, "-1", "1 2", ""])
def test_a_size_that_is_none_is_no_obstacle(limit: str) -> None:
    assert obstacle(fresh(), [], "mx.test", {"SIZE": limit}, eight_bit=EightBit.SEND, seen=Seen()) is None


@pytest.mark.parametrize(
    ("announced", "limit"),
    [
        ("LIMITS MAILMAX=5 RCPTMAX=20 RCPTDOMAINMAX=1", Limits(5, 20)),
        ("limits mailmax=1", Limits(1)),
        ("LIMITS RCPTMAX=999999", Limits(recipients=999_999)),
        ("LIMITS", Limits()),
        ("LIMITS MAILMAX=0 RCPTMAX=0", Limits()),
        ("LIMITS MAILMAX=1000000 RCPTMAX=-1", Limits()),
        ("LIMITS MAILMAX= RCPTMAX=x MAILMAX=1.5 RCPTMAX", Limits()),
        ("LIMITS MAILMAX=007 RCPTMAX=٣", Limits()),
        ("LIMITS OTHER=1 XMAILMAX=2 RCPTMAX=3", Limits(recipients=3)),
        ("LIMITS MAILMAX=7 MAILMAX=3 MAILMAX=9", Limits(3)),
        ("LIMITS" + " OTHER=1" * 50 + " RCPTMAX=4", Limits(recipients=4)),
        ("SIZE 1000", Limits()),
    ],
)
def test_limits_are_read_and_nonsense_is_ignored(announced: str, limit: Limits) -> None:
    assert limits(offered(["mx.test", announced])) == limit


@given(st.text(max_size=600))
def test_no_announcement_gives_a_limit_below_one(parameters: str) -> None:
    found = limits(offered(["mx.test", f"LIMITS {parameters}"]))
    assert min(found) >= 1
