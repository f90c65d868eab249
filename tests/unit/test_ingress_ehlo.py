"""What EHLO announces is what can be asked for at that moment, and HELP names what there is."""

import itertools

import pytest

from ingress.listen.listener import ListenerSettings
from ingress.session.commands import COMMANDS, HELP
from ingress.session.session import Session
from ingress.smtp.commands import HANDLERS
from ingress.smtp.ehlo import extensions, not_now, offers_of

MECHANISMS = ("PLAIN", "LOGIN")
ALWAYS = ("mx.test greets client.test", "PIPELINING", "SIZE 1000", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES")


@pytest.mark.parametrize(
    ("tls", "require_auth", "is_on", "identity", "announced"),
    [
        ("none", False, False, "", ()),
        ("starttls", False, False, "", ("STARTTLS",)),
        ("starttls", True, False, "", ("STARTTLS",)),
        ("starttls", False, True, "", ()),
        ("starttls", True, True, "", ("AUTH PLAIN LOGIN",)),
        ("starttls", True, True, "ann", ()),
        ("implicit", True, True, "", ("AUTH PLAIN LOGIN",)),
        ("implicit", True, True, "ann", ()),
        ("implicit", False, True, "", ()),
    ],
)
def test_what_is_announced(
    tls: str, require_auth: bool, is_on: bool, identity: str, announced: tuple[str, ...]
) -> None:
    listener = ListenerSettings.model_validate({"name": "a", "port": 0, "tls": tls, "require_auth": require_auth})
    session = Session("192.0.2.1", tls="TLSv1.3 X" if is_on else "", client_name="client.test", identity=identity)

    assert extensions("mx.test", session, 1000, offers_of(listener, MECHANISMS)).text == (*ALWAYS, *announced)


def test_what_is_not_announced_is_refused() -> None:
    """The reply says why: not implemented here, not yet, or not again."""
    replies = set()
    for tls, require_auth, is_on, identity, verb in itertools.product(
        ("none", "starttls", "implicit"), (True, False), ("", "TLSv1.3 X"), ("", "ann"), ("STARTTLS", "AUTH")
    ):
        listener = ListenerSettings.model_validate({"name": "a", "port": 0, "tls": tls, "require_auth": require_auth})
        session, offers = Session("192.0.2.1", tls=is_on, identity=identity), offers_of(listener, MECHANISMS)
        lines = [line.partition(" ")[0] for line in extensions("mx.test", session, 1000, offers).text]
        refusal = not_now(COMMANDS[verb], session, offers)

        assert (verb in lines) == (refusal is None)
        replies.add(None if refusal is None else f"{verb} {refusal.reply.code}")

    assert replies == {None, "STARTTLS 502", "STARTTLS 503", "AUTH 502", "AUTH 503", "AUTH 538"}


def test_help_names_every_command_that_does_something() -> None:
    assert HELP.text == ("EHLO HELO STARTTLS AUTH MAIL RCPT DATA RSET NOOP VRFY HELP QUIT",)
    assert list(HANDLERS) == list(COMMANDS)
