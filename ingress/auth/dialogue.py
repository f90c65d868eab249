"""AUTH (RFC 4954): from the command, by way of challenges and responses, to who the client is."""

from collections.abc import Awaitable, Callable, Sequence

from ingress.auth.backend import ATTEMPTS, Backend, answer, mechanisms_of
from ingress.auth.identity import Finding, Identity, Unavailable, Unknown, Wrong
from ingress.auth.mechanisms import CANCELLED, MECHANISMS, Credentials, Exchange, Question
from ingress.policy.verdict import Refuse
from ingress.session.lines import OVERLONG
from ingress.session.session import Session
from jetpost.mail.parameters import upper
from jetpost.mail.reply import EnhancedStatus, Reply
from jetpost.telemetry.log import logger

_INVALID_ARGUMENTS = EnhancedStatus(5, 5, 4)
_AUTHENTICATED = Reply(235, EnhancedStatus(2, 7, 0), ("Authentication successful",))
WRONG = Reply(535, EnhancedStatus(5, 7, 8), ("Authentication credentials invalid",))
_UNAVAILABLE = Reply(454, EnhancedStatus(4, 7, 0), ("Temporary authentication failure",))
_TOO_LONG = Reply(500, EnhancedStatus(5, 5, 6), ("Authentication exchange line is too long",))
_NO_MECHANISM = Refuse(Reply(501, _INVALID_ARGUMENTS, ("Syntax: AUTH mechanism [initial-response]",)), "syntax")
_MECHANISM = Refuse(Reply(504, _INVALID_ARGUMENTS, ("Unrecognized authentication mechanism",)), "syntax")

log = logger(__name__)

Ask = Callable[[str], None]
"""Sends a challenge."""
Response = Callable[[], Awaitable[bytes]]
"""The line that answers it."""


async def authenticate(
    argument: str, session: Session, ask: Ask, response: Response, backends: Sequence[Backend]
) -> Reply | Refuse:
    """Find out who the client is and note it in `session`. ConnectionError when the client leaves meanwhile."""
    mechanism, _, initial = argument.partition(" ")
    if not mechanism:
        return _NO_MECHANISM
    name = upper(mechanism)
    if name not in mechanisms_of(backends):
        return _MECHANISM

    async def ask_backends(question: Question) -> Finding:
        return await answer(question, name, session.client_address, backends)

    outcome = await _exchanged(MECHANISMS[name](initial.strip(" ")), ask, response, ask_backends)
    match outcome:
        case Identity():
            session.identity = outcome.name
            ATTEMPTS.labels("ok").inc()
            return _AUTHENTICATED
        case Unavailable():
            # Nobody has failed: it counts as a refused command alone.
            log.warning("auth backend unavailable", mechanism=name, cause=outcome.cause, limited_by=(outcome.cause,))
            ATTEMPTS.labels("unavailable").inc()
            return Refuse(_UNAVAILABLE, "unavailable")
        case Unknown() | Wrong():
            ATTEMPTS.labels("wrong").inc()
            session.auth_failures += 1
            return Refuse(WRONG, "auth")
        case Reply():
            ATTEMPTS.labels("broken").inc()
            session.auth_failures += outcome is not CANCELLED
            return Refuse(outcome, "auth")


async def _exchanged(
    exchange: Exchange, ask: Ask, response: Response, ask_backends: Callable[[Question], Awaitable[Finding]]
) -> Finding | Reply:
    try:
        step = next(exchange)
        while True:
            if isinstance(step, Credentials):
                step = exchange.send(await ask_backends(step))
                continue
            ask(step)
            line = await response()
            if line is OVERLONG:
                return _TOO_LONG
            step = exchange.send(line.decode("ascii", "replace"))
    except StopIteration as ended:
        outcome: Finding | Reply = ended.value
        return outcome
