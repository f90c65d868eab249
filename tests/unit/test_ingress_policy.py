"""Who may send what to whom."""

from typing import Any

import pytest

from ingress.content.facts import Facts
from ingress.policy.error_limit import exhausted
from ingress.policy.limits import Limits
from ingress.policy.request import ContentRequest, ListenerPolicy, PolicyRequest
from ingress.policy.verdict import Refuse
from ingress.session.command import Destination, Sender
from ingress.session.session import Session, Transaction
from ingress.stages import STAGES
from jetpost.mail.envelope import Envelope, Origin, Recipient
from jetpost.mail.parameters import MailParameters

LIMITS = Limits(message_bytes=100_000, recipients=100)
SUBMISSION = {"submission": True, "require_auth": True}
RELAY = {"domains": ["Home.test"], "relay_networks": ["192.0.2.0/24", "2001:db8::/32"]}
ENVELOPE = Envelope(reverse_path="", recipients=(), origin=Origin("192.0.2.1", "client.test", "SMTP"))
FINE = Facts(size=1, received=0, has_date=True, has_message_id=True, bare=False, nul=False, long_line=False)


def verdict(
    terms: dict[str, Any],
    client: str,
    domain: str | None = None,
    *,
    identity: str = "",
    tls: str = "",
    size: int = 0,
    recipients: int = 0,
    is_local: bool = False,
) -> str:
    """The reply, or nothing."""
    transaction = Transaction(Sender("ann@home.test", MailParameters(size=size)))
    said = None if domain is None else Destination(Recipient(f"bob@{domain}"), domain, is_local)
    transaction.destinations.extend([Destination(Recipient("x@y.test"), "y.test")] * recipients)
    session = Session(client, tls=tls, identity=identity)
    checks = STAGES.mail if said is None else STAGES.rcpt
    refusal = checks(PolicyRequest(ListenerPolicy.model_validate(terms), LIMITS, session, transaction, said))
    assert refusal is None or isinstance(refusal, Refuse)
    return " ".join(str(refusal.reply).split()[:2]) if refusal else ""


@pytest.mark.parametrize(
    ("terms", "client", "told", "expected"),
    [
        ({}, "203.0.113.1", {}, ""),
        (SUBMISSION, "203.0.113.1", {}, "530 5.7.0"),
        (SUBMISSION, "203.0.113.1", {"identity": "ann", "tls": "TLSv1.3 X"}, ""),
        ({**SUBMISSION, **RELAY}, "192.0.2.7", {}, ""),
        ({**SUBMISSION, **RELAY}, "203.0.113.1", {}, "530 5.7.0"),
        ({"require_tls": True, **RELAY}, "192.0.2.7", {}, "530 5.7.0"),
        ({"require_tls": True, **RELAY}, "192.0.2.7", {"tls": "TLSv1.3 X"}, ""),
        (RELAY, "203.0.113.1", {"size": 100_000}, ""),
        (RELAY, "203.0.113.1", {"size": 100_001}, "552 5.3.4"),
    ],
)
def test_who_may_begin(terms: dict[str, Any], client: str, told: dict[str, Any], expected: str) -> None:
    assert verdict(terms, client, **told) == expected


@pytest.mark.parametrize(
    ("terms", "client", "domain", "told", "expected"),
    [
        ({}, "127.0.0.1", "dest.test", {}, "550 5.7.1"),
        ({}, "127.0.0.1", "mx.test", {"is_local": True}, ""),
        (RELAY, "203.0.113.1", "dest.test", {}, "550 5.7.1"),
        (RELAY, "203.0.113.1", "home.test", {}, ""),
        (RELAY, "203.0.113.1", "sub.home.test", {}, "550 5.7.1"),
        (RELAY, "192.0.2.255", "dest.test", {}, ""),
        (RELAY, "::ffff:192.0.2.1", "dest.test", {}, ""),
        (RELAY, "2001:db8::1", "dest.test", {}, ""),
        (RELAY, "fe80::1%eth0", "dest.test", {}, "550 5.7.1"),
        (SUBMISSION, "203.0.113.1", "dest.test", {"identity": "ann"}, ""),
        (SUBMISSION, "203.0.113.1", "[192.0.2.1]", {"identity": "ann"}, "550 5.1.2"),
        (SUBMISSION, "203.0.113.1", "dest.test", {"identity": "ann", "recipients": 99}, ""),
        (SUBMISSION, "203.0.113.1", "dest.test", {"identity": "ann", "recipients": 100}, "452 4.5.3"),
    ],
)
def test_to_whom_one_may_send(
    terms: dict[str, Any], client: str, domain: str, told: dict[str, Any], expected: str
) -> None:
    assert verdict(terms, client, domain, **told) == expected


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (FINE, None),
        (FINE._replace(size=100_001), "552 5.3.4"),
        (FINE._replace(bare=True), "550 5.6.11"),
        (FINE._replace(nul=True), "550 5.6.0"),
        (FINE._replace(long_line=True), "550 5.6.0"),
        (FINE._replace(received=100), None),
        (FINE._replace(received=101), "554 5.4.6"),
    ],
)
def test_which_contents_are_refused(facts: Facts, expected: str | None) -> None:
    refusal = STAGES.content(ContentRequest(LIMITS, ENVELOPE, facts))
    assert refusal is None or isinstance(refusal, Refuse)
    assert (" ".join(str(refusal.reply).split()[:2]) if refusal else None) == expected


@pytest.mark.parametrize(
    ("errors", "failures", "commands_without_message", "expected"),
    [
        (0, 0, 0, None),
        (9, 4, 19, None),
        (10, 0, 0, "421 4.7.0 Too many errors"),
        (0, 5, 0, "421 4.7.0 Too many failed authentications"),
        (11, 6, 20, "421 4.7.0 Too many errors"),
        (0, 0, 20, "421 4.7.0 Too many commands without a message"),
    ],
)
def test_patience_has_an_end(errors: int, failures: int, commands_without_message: int, expected: str | None) -> None:
    session = Session(
        "192.0.2.1", errors=errors, auth_failures=failures, commands_without_message=commands_without_message
    )
    last_word = exhausted(session, Limits(command_errors=10, auth_failures=5, commands_without_message=20))
    assert (None if last_word is None else str(last_word.reply)) == expected
