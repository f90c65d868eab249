"""A mail client submits over STARTTLS with AUTH; a real Postfix has the message in a mailbox."""

from tests.end_to_end.conftest import Mailboxes, Swaks
from tests.fixtures.eventually import eventually

_BODY = ".a line that begins with a dot\n\nFrom here on nothing is touched:  \t\n=C3=A4 \u00e4 ."


async def test_what_swaks_submits_lies_in_a_mailbox_of_postfix(swaks: Swaks, mailboxes: Mailboxes) -> None:
    told = await swaks("--from", "ann@author.test", "--to", "bob@postfix.test", "--body", _BODY)
    assert "=== TLS started" in told
    assert "235 2.7.0" in told

    message = (await eventually(lambda: mailboxes.of("bob@postfix.test"), "bob has mail"))[0]

    head, _, body = message.partition(b"\n\n")
    assert body.rstrip(b"\n") == _BODY.encode()
    # Postfix says how it got it, Jetpost below that: both over TLS, the first with AUTH (RFC 3848).
    assert b"from jetpost.test" in head
    assert b"using TLSv1." in head
    assert b"by jetpost.test with ESMTPSA" in head.replace(b"\n\t", b" ").replace(b"\n ", b" ")
    assert b"Return-Path: <ann@author.test>" in head
