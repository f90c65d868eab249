"""Where a session stands, and what may follow (RFC 5321, 4.1.4)."""

from collections.abc import Mapping
from enum import StrEnum

from jetpost.mail.reply import EnhancedStatus, Reply


class Phase(StrEnum):
    """What has been said so far."""

    CONNECTED = "connected"
    IDENTIFIED = "identified"
    SENDER = "sender"
    RECIPIENTS = "recipients"
    DATA = "data"
    """What arrives is the message, and no command."""
    CLOSED = "closed"


P = Phase

_FROM_EACH: Mapping[Phase, Mapping[str, Phase]] = {
    P.CONNECTED: {},
    # STARTTLS back to CONNECTED is RFC 3207's "discard all knowledge" (4.2); AUTH is impossible inside a transaction.
    P.IDENTIFIED: {"STARTTLS": P.CONNECTED, "AUTH": P.IDENTIFIED, "MAIL": P.SENDER},
    P.SENDER: {"RCPT": P.RECIPIENTS},
    P.RECIPIENTS: {"RCPT": P.RECIPIENTS, "DATA": P.DATA},
}


def _always(phase: Phase) -> dict[str, Phase]:
    """What is possible at any time: to begin anew, to ask, to leave."""
    begun = P.CONNECTED if phase is P.CONNECTED else P.IDENTIFIED
    return {
        "EHLO": P.IDENTIFIED,
        "HELO": P.IDENTIFIED,
        "RSET": begun,
        "NOOP": phase,
        "HELP": phase,
        "VRFY": phase,
        "EXPN": phase,
        "QUIT": P.CLOSED,
    }


NEXT: Mapping[Phase, Mapping[str, Phase]] = {
    **{phase: {**_always(phase), **moves} for phase, moves in _FROM_EACH.items()},
    P.DATA: {},
    P.CLOSED: {},
}
"""The phase after each command that was accepted."""

VERBS = frozenset(verb for moves in NEXT.values() for verb in moves)

UNKNOWN = Reply(500, EnhancedStatus(5, 5, 2), ("Command not recognized",))
_OUT_OF_SEQUENCE = EnhancedStatus(5, 5, 1)
_SAY_HELLO = Reply(503, _OUT_OF_SEQUENCE, ("Say EHLO first",))
_SAY_MAIL = Reply(503, _OUT_OF_SEQUENCE, ("Say MAIL first",))
_NO_RECIPIENTS = Reply(554, _OUT_OF_SEQUENCE, ("No valid recipients",))
_FINISH_FIRST = Reply(503, _OUT_OF_SEQUENCE, ("Not within a transaction: finish it, or say RSET",))


def advance(phase: Phase, verb: str) -> Phase | Reply:
    """The phase after `verb` will have been accepted, or why it cannot be (RFC 5321, 4.1.4)."""
    following = NEXT[phase].get(verb)
    if following is not None:
        return following
    if verb not in VERBS:
        return UNKNOWN
    match phase:
        case P.CONNECTED | P.CLOSED:
            return _SAY_HELLO
        case P.IDENTIFIED:
            return _SAY_MAIL
        case P.SENDER if verb == "DATA":
            return _NO_RECIPIENTS
        case P.SENDER | P.RECIPIENTS | P.DATA:
            return _FINISH_FIRST
