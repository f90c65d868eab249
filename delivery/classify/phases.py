"""What an unwelcome answer means: a table. Pure."""

from enum import StrEnum
from typing import NamedTuple

from jetpost.mail.outcome import Bounced, Deferred
from jetpost.mail.reply import EnhancedStatus, Reply


class Phase(StrEnum):
    """How far a connection has come."""

    CONNECT = "connect"
    GREETING = "greeting"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    """From the command until the end of data is sent."""
    END_OF_DATA = "end of data"
    """From the final dot, or the last byte of a chunk (RFC 3030)."""


class Scope(StrEnum):
    """Whom an answer concerns."""

    HOST = "host"
    MESSAGE = "message"
    RECIPIENT = "recipient"


class Step(StrEnum):
    """What follows."""

    NEXT_HOST = "next host"
    """Try the next MX host; DEFER when none is left."""
    DEFER = "defer"
    BOUNCE = "bounce"


class ConnectionBroke(NamedTuple):
    """No answer: the connection was refused, reset, closed, or stayed silent for too long."""

    why: str
    status: EnhancedStatus | None = None
    """Of the deferral; None: the usual one of the phase."""


class Rule(NamedTuple):
    """A row of the table."""

    scope: Scope
    on_4yz: Step
    on_5yz: Step
    on_break: Step


RULES = {  #                   whom it concerns  4yz             5yz             connection broke
    Phase.CONNECT: Rule(Scope.HOST, Step.NEXT_HOST, Step.NEXT_HOST, Step.NEXT_HOST),
    # A 5yz greeting speaks for the host, not for the domain (RFC 5321, 3.1 and 5.1).
    Phase.GREETING: Rule(Scope.HOST, Step.NEXT_HOST, Step.NEXT_HOST, Step.NEXT_HOST),
    Phase.EHLO: Rule(Scope.HOST, Step.NEXT_HOST, Step.NEXT_HOST, Step.NEXT_HOST),
    Phase.STARTTLS: Rule(Scope.HOST, Step.NEXT_HOST, Step.NEXT_HOST, Step.NEXT_HOST),
    # Credentials are an operator's business: they never bounce mail (RFC 4954, 6).
    Phase.AUTH: Rule(Scope.HOST, Step.NEXT_HOST, Step.NEXT_HOST, Step.NEXT_HOST),
    Phase.MAIL: Rule(Scope.MESSAGE, Step.NEXT_HOST, Step.BOUNCE, Step.NEXT_HOST),
    Phase.RCPT: Rule(Scope.RECIPIENT, Step.DEFER, Step.BOUNCE, Step.NEXT_HOST),
    Phase.DATA: Rule(Scope.MESSAGE, Step.DEFER, Step.BOUNCE, Step.NEXT_HOST),
    # The host may have the message already: another host now would duplicate it (RFC 5321, 4.5.3.2.6 and 6.1).
    Phase.END_OF_DATA: Rule(Scope.MESSAGE, Step.DEFER, Step.BOUNCE, Step.DEFER),
}

_BROKE = EnhancedStatus(4, 4, 2)
_BROKE_IN = {
    Phase.CONNECT: EnhancedStatus(4, 4, 1),
    Phase.STARTTLS: EnhancedStatus(4, 7, 5),
    Phase.AUTH: EnhancedStatus(4, 7, 0),
}
"""Phases with a status of their own: no answer from the host; no cryptography; no credentials."""
_WANTS_MORE = 530
"""To any command: the host wants TLS or credentials first (RFC 3207, 4; RFC 4954, 6); an operator can set it right."""
_IN_TRANSACTION = frozenset({Phase.MAIL, Phase.RCPT, Phase.DATA})
BAD_CREDENTIALS = EnhancedStatus(4, 7, 8)
"""X.7.8 (RFC 4954, 6), as a deferral."""


def classify(phase: Phase, answer: Reply | ConnectionBroke) -> tuple[Scope, Step]:
    """What an unwelcome `answer` in `phase` means (RFC 5321, 4.2.1 and 5.1)."""
    rule = RULES[phase]
    match answer:
        case ConnectionBroke():
            return rule.scope, rule.on_break
        case Reply(code=421):  # service closing: the host's trouble, whatever the phase (3.8)
            return Scope.HOST, rule.on_break
        case Reply(code=552) if phase is Phase.RCPT:  # an old way to say 452, too many recipients (4.5.3.1.10)
            return rule.scope, rule.on_4yz
        case Reply(code=code) if code == _WANTS_MORE and phase in _IN_TRANSACTION:
            return rule.scope, rule.on_4yz
        case Reply(code=code) if code >= 500:
            return rule.scope, rule.on_5yz
        case Reply():  # 4yz, and any reply that makes no sense here
            return rule.scope, rule.on_4yz


def outcome(phase: Phase, answer: Reply | ConnectionBroke, host: str) -> Deferred | Bounced:
    """The outcome of an unwelcome `answer` from `host`, in words for people."""
    if isinstance(answer, ConnectionBroke):
        return Deferred(
            answer.status or _BROKE_IN.get(phase, _BROKE), f"{host}: {answer.why} ({phase.value})", None, host
        )
    _, step = classify(phase, answer)
    said = f"{host} said at {phase.value}: {answer}"
    if step is Step.BOUNCE:
        return Bounced(answer.status or EnhancedStatus(5, 0, 0), said, answer, host)
    usual = EnhancedStatus(4, 0, 0)
    if answer.code == _WANTS_MORE:
        usual = EnhancedStatus(4, 7, 0)
    elif phase is Phase.AUTH and answer.is_permanent:
        usual = BAD_CREDENTIALS
    status = answer.status if answer.status and answer.status.klass == 4 else usual
    return Deferred(status, said, answer, host)
