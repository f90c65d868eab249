"""The commands: when each may come, what follows it, and what is special about it (RFC 5321, 4.1.4).

What EHLO announces, what HELP names and what may follow what derive from the one table.
"""

from collections.abc import Mapping
from typing import NamedTuple

from ingress.session.phase import Phase
from jetpost.mail.reply import EnhancedStatus, Reply

P = Phase
_ANY = (P.CONNECTED, P.IDENTIFIED, P.SENDER, P.RECIPIENTS)
_STAYS = dict(zip(_ANY, _ANY, strict=True))
_GREETED = dict.fromkeys(_ANY, P.IDENTIFIED)
_ANEW = {**_GREETED, P.CONNECTED: P.CONNECTED}


class Verb(NamedTuple):
    """One command."""

    handler: str
    """The method that carries it out."""
    phases: Mapping[Phase, Phase]
    """The phases in which it may come, and the phase after it was accepted."""
    takes_parameters: bool = True
    """Otherwise anything after the verb is a mistake (501)."""
    is_counted: bool = True
    """Counts towards `commands_without_message` also when it is accepted; the others have limits of their own."""
    is_named: bool = True
    """Whether HELP names it."""
    keyword: str = ""
    """What EHLO calls it when it announces it, where the listener offers it."""
    before_tls: bool = True
    after_tls: bool = True
    after_auth: bool = True


COMMANDS: Mapping[str, Verb] = {
    "EHLO": Verb("ehlo", _GREETED),
    "HELO": Verb("helo", _GREETED),
    # Back to CONNECTED is RFC 3207's "discard all knowledge" (4.2).
    "STARTTLS": Verb(
        "starttls", {P.IDENTIFIED: P.CONNECTED}, takes_parameters=False, keyword="STARTTLS", after_tls=False
    ),
    # Never within a transaction, nor a second time (RFC 4954, 4).
    "AUTH": Verb("auth", {P.IDENTIFIED: P.IDENTIFIED}, keyword="AUTH", before_tls=False, after_auth=False),
    "MAIL": Verb("mail", {P.IDENTIFIED: P.SENDER}),
    "RCPT": Verb("rcpt", {P.SENDER: P.RECIPIENTS, P.RECIPIENTS: P.RECIPIENTS}, is_counted=False),
    "DATA": Verb("data", {P.RECIPIENTS: P.DATA}, takes_parameters=False, is_counted=False),
    "RSET": Verb("rset", _ANEW, takes_parameters=False),
    "NOOP": Verb("noop", _STAYS),
    "VRFY": Verb("vrfy", _STAYS),
    "HELP": Verb("help", _STAYS),
    "EXPN": Verb("expn", _STAYS, is_named=False),
    "QUIT": Verb("quit", dict.fromkeys(_ANY, P.CLOSED), takes_parameters=False),
}

HELP = Reply(214, EnhancedStatus(2, 0, 0), (" ".join(verb for verb, it in COMMANDS.items() if it.is_named),))
UNKNOWN = Reply(500, EnhancedStatus(5, 5, 2), ("Command not recognized",))
_OUT_OF_SEQUENCE = EnhancedStatus(5, 5, 1)
_SAY_HELLO = Reply(503, _OUT_OF_SEQUENCE, ("Say EHLO first",))
_SAY_MAIL = Reply(503, _OUT_OF_SEQUENCE, ("Say MAIL first",))
_NO_RECIPIENTS = Reply(554, _OUT_OF_SEQUENCE, ("No valid recipients",))
_FINISH_FIRST = Reply(503, _OUT_OF_SEQUENCE, ("Not within a transaction: finish it, or say RSET",))


def advance(phase: Phase, verb: str) -> Phase | Reply:
    """The phase after `verb` will have been accepted, or why it cannot be (RFC 5321, 4.1.4)."""
    if (command := COMMANDS.get(verb)) is None:
        return UNKNOWN
    if (following := command.phases.get(phase)) is not None:
        return following
    match phase:
        case P.CONNECTED | P.CLOSED:
            return _SAY_HELLO
        case P.IDENTIFIED:
            return _SAY_MAIL
        case P.SENDER if verb == "DATA":
            return _NO_RECIPIENTS
        case P.SENDER | P.RECIPIENTS | P.DATA:
            return _FINISH_FIRST
