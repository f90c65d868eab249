"""MAIL and RCPT parameters, and xtext."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetpost.mail.parameters import (
    MailParameters,
    RcptParameters,
    from_xtext,
    mail_parameters,
    orcpt_value,
    original_recipient,
    rcpt_parameters,
    xtext,
)
from jetpost.mail.reply import Reply

PRINTABLE = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("", {}),
        (" SIZE=1000", {"size": 1000}),
        (" size=0 body=8bitmime", {"size": 0, "body": "8BITMIME"}),
        (" BODY=7BIT SMTPUTF8", {"body": "7BIT", "smtputf8": True}),
        (" RET=HDRS ENVID=QQ314159", {"ret": "HDRS", "envid": "QQ314159"}),
        (" ENVID=aB+2BcD", {"envid": "aB+cD"}),
        (" AUTH=<>", {"auth": "<>"}),
        (" AUTH=e+3Dmc2@example.com", {"auth": "e=mc2@example.com"}),
    ],
)
def test_what_mail_says(text: str, meant: dict[str, Any]) -> None:
    assert mail_parameters(text) == MailParameters(**meant)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("", {}),
        (" NOTIFY=NEVER", {"notify": ("NEVER",)}),
        (" NOTIFY=success,Failure,DELAY", {"notify": ("SUCCESS", "FAILURE", "DELAY")}),
        (" ORCPT=rfc822;Bob+2Btag@dest.test", {"orcpt": "rfc822;Bob+tag@dest.test"}),
        (r" ORCPT=utf-8;j\x{FC}rgen@dest.test", {"orcpt": "utf-8;jürgen@dest.test"}),
        (" ORCPT=utf-8;jürgen@dest.test", {"orcpt": "utf-8;jürgen@dest.test"}),
    ],
)
def test_what_rcpt_says(text: str, meant: dict[str, Any]) -> None:
    assert rcpt_parameters(text) == RcptParameters(**meant)


@pytest.mark.parametrize(
    ("text", "code", "status"),
    [
        (" MT-PRIORITY=3", 555, "5.5.4"),
        (" NOTIFY=NEVER", 555, "5.5.4"),
        (" =", 555, "5.5.4"),
        (" SIZE", 501, "5.5.4"),
        (" SIZE=-1", 501, "5.5.4"),
        (" SIZE=١", 501, "5.5.4"),
        (" SIZE=1 SIZE=1", 501, "5.5.4"),
        (" BODY=BINARYMIME", 501, "5.5.4"),
        (" SMTPUTF8=yes", 501, "5.5.4"),
        (" RET=ALL", 501, "5.5.4"),
        (" ENVID=a+0D+0Ab", 501, "5.5.4"),
        (" ENVID=a+2b", 501, "5.5.4"),
        (f" ENVID={'a' * 101}", 501, "5.5.4"),
    ],
)
def test_what_mail_may_not_say(text: str, code: int, status: str) -> None:
    refusal = mail_parameters(text)
    assert isinstance(refusal, Reply)
    assert (refusal.code, str(refusal.status)) == (code, status)


@pytest.mark.parametrize(
    "text",
    [
        " NOTIFY=NEVER,FAILURE",
        " NOTIFY=FAILURE,FAILURE",
        " NOTIFY=",
        " ORCPT=bob@dest.test",
        " ORCPT=rfc822;",
        r" ORCPT=utf-8;\x{D800}",
        r" ORCPT=utf-8;\x{FFFFFF}",
        r" ORCPT=utf-8;\x{0A}",
        " ORCPT=rfc822;a+00b",
    ],
)
def test_what_rcpt_may_not_say(text: str) -> None:
    refusal = rcpt_parameters(text)
    assert isinstance(refusal, Reply)
    assert refusal.code == 501


@given(st.text())
def test_any_text_is_parameters_or_a_refusal(text: str) -> None:
    for parsed in (mail_parameters(text), rcpt_parameters(text)):
        if isinstance(parsed, Reply):
            assert parsed.is_permanent
            assert parsed.wire().count(b"\r\n") == 1


@given(PRINTABLE)
def test_xtext_comes_back_as_it_was(text: str) -> None:
    assert xtext(text).isascii()
    assert from_xtext(xtext(text)) == text


@given(PRINTABLE, st.sampled_from(["rfc822", "utf-8", "X-other"]))
def test_an_original_recipient_comes_back_as_it_was(address: str, kind: str) -> None:
    assert orcpt_value(f"{kind};{address}").isascii()
    assert original_recipient(orcpt_value(f"{kind};{address}")) == f"{kind};{address}"
