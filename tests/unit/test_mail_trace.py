"""The header lines above the content."""

import email
import email.policy
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime

import pytest

from jetpost.mail.envelope import Origin
from jetpost.mail.header import text_of
from jetpost.mail.trace import address_literal, date_time, fix_ups, protocol, received

NOW = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
ORIGIN = Origin("192.0.2.1", "client.test", "ESMTPSA", tls="TLSv1.3 TLS_AES_256_GCM_SHA384", identity="ann")


def test_a_received_field_says_who_whence_how_and_when() -> None:
    assert text_of([received(ORIGIN, by="mx.test", queue_id="06abc", recipient="bob@dest.test", now=NOW)]) == (
        "Received: from client.test ([192.0.2.1])\r\n"
        "\tby mx.test with ESMTPSA (TLSv1.3 TLS_AES_256_GCM_SHA384)\r\n"
        "\tid 06abc for <bob@dest.test>;\r\n"
        "\tTue, 03 Feb 2026 04:05:06 +0000\r\n"
    )


def test_it_names_no_recipient_among_several_and_no_user() -> None:
    field = text_of([received(ORIGIN, by="mx.test", queue_id="06abc", recipient="", now=NOW)])
    assert " for " not in field
    assert "ann" not in field


@pytest.mark.parametrize(
    ("extended", "tls", "authenticated", "smtputf8", "keyword"),
    [
        (False, False, False, False, "SMTP"),
        (True, False, False, False, "ESMTP"),
        (True, True, False, False, "ESMTPS"),
        (True, False, True, False, "ESMTPA"),
        (True, True, True, False, "ESMTPSA"),
        (True, False, False, True, "UTF8SMTP"),
        (True, True, True, True, "UTF8SMTPSA"),
    ],
)
def test_the_protocol_has_its_registered_keyword(
    extended: bool, tls: bool, authenticated: bool, smtputf8: bool, keyword: str
) -> None:
    assert protocol(extended=extended, tls=tls, authenticated=authenticated, smtputf8=smtputf8) == keyword


@pytest.mark.parametrize(
    ("address", "literal"),
    [
        ("192.0.2.1", "[192.0.2.1]"),
        ("2001:DB8::1", "[IPv6:2001:db8::1]"),
        ("fe80::1%eth0", "[IPv6:fe80::1]"),
        ("::ffff:192.0.2.1", "[192.0.2.1]"),
    ],
)
def test_an_address_becomes_a_literal(address: str, literal: str) -> None:
    assert address_literal(address) == literal


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=-3, minutes=-30)), timezone(timedelta(hours=5.5))])
def test_a_date_is_read_back_as_it_was(zone: timezone) -> None:
    assert parsedate_to_datetime(date_time(NOW.astimezone(zone))) == NOW


def test_a_submission_gets_what_it_lacks_and_nothing_else() -> None:
    lines = fix_ups(date=True, message_id=True, by="mx.test", queue_id="06abc", now=NOW)
    message = email.message_from_string(text_of(lines) + "\r\n", policy=email.policy.default)

    assert message.keys() == ["Date", "Message-ID"]
    assert message["Message-ID"] == "<06abc@mx.test>"
    assert fix_ups(date=False, message_id=False, by="mx.test", queue_id="06abc", now=NOW) == ()
