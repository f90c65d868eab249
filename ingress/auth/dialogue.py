"""AUTH (RFC 4954): from the command, by way of challenges and responses, to who the client is."""

from collections.abc import Awaitable, Callable, Sequence

from ingress.auth.backend import ATTEMPTS, Backend, identify
from ingress.auth.mechanisms import CANCELLED, MECHANISMS, WRONG, Credentials, Exchange
from ingress.policy.verdict import Refuse
from ingress.session.lines import OVERLONG
from ingress.session.session import Session
from jetpost.mail.parameters import upper
from jetpost.mail.reply import EnhancedStatus, Reply

_INVALID_ARGUMENTS = EnhancedStatus(5, 5, 4)
_AUTHENTICATED = Reply(235, EnhancedStatus(2, 7, 0), ("Authentication successful",))
_TOO_LONG = Reply(500, EnhancedStatus(5, 5, 6), ("Authentication exchange line is too long",))
_NO_MECHANISM = Refuse(Reply(501, _INVALID_ARGUMENTS, ("Syntax: AUTH mechanism [initial-response]",)), "syntax")
_MECHANISM = Refuse(Reply(504, _INVALID_ARGUMENTS, ("Unrecognized authentication mechanism",)), "syntax")


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
    begin = MECHANISMS.get(upper(mechanism))
    if begin is None:
        return _MECHANISM
    outcome = await _exchanged(begin(initial.strip(" ")), ask, response)
    if isinstance(outcome, Credentials):
        session.identity = await identify(outcome, session.client_address, backends) or ""
        outcome = _AUTHENTICATED if session.identity else WRONG
    ATTEMPTS.labels({_AUTHENTICATED: "ok", WRONG: "wrong"}.get(outcome, "broken")).inc()
    if outcome.is_positive:
        return outcome
    session.auth_failures += outcome is not CANCELLED
    return Refuse(outcome, "auth")


async def _exchanged(exchange: Exchange, ask: Ask, response: Response) -> Credentials | Reply:
    try:
        challenge = next(exchange)
        while True:
            ask(challenge)
            line = await response()
            if line is OVERLONG:
                return _TOO_LONG
            challenge = exchange.send(line.decode("ascii", "replace"))
    except StopIteration as ended:
        outcome: Credentials | Reply = ended.value
        return outcome
