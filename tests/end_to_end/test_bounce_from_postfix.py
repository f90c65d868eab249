"""A real Postfix does not know the user: the sender gets a DSN with its very words."""

import email
import email.policy
from email.message import EmailMessage
from typing import cast

from tests.end_to_end.conftest import Mailboxes, Swaks
from tests.fixtures.eventually import eventually

_STRANGER = "nobody-here@postfix.test"


async def test_what_postfix_refuses_comes_back_to_the_sender(swaks: Swaks, mailboxes: Mailboxes) -> None:
    await swaks("--from", "ann@author.test", "--to", _STRANGER, "--header", "Subject: into the void")

    data = (await eventually(lambda: mailboxes.of("ann@author.test"), "ann has mail"))[0]

    assert data.startswith(b"Return-Path: <>")
    dsn = email.message_from_bytes(data, policy=email.policy.default)
    assert dsn.get_content_type() == "multipart/report"
    assert dsn["Auto-Submitted"] == "auto-replied"
    text, status, original = cast("list[EmailMessage]", list(dsn.iter_parts()))
    recipient = cast("list[EmailMessage]", status.get_payload())[1]
    assert _STRANGER in text.get_content()
    assert recipient["Action"] == "failed"
    assert recipient["Status"].split()[0] == "5.1.1"
    diagnosis = " ".join(recipient["Diagnostic-Code"].split())
    assert diagnosis.startswith(f"smtp; 550 5.1.1 <{_STRANGER}>: Recipient address rejected")
    assert "User unknown in virtual mailbox table" in diagnosis
    assert recipient["Remote-MTA"] == "dns; mx.postfix.test"
    assert "into the void" in str(original)
