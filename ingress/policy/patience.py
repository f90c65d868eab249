"""When a session has been told no often enough."""

from ingress.policy.limits import Limits
from ingress.session.transaction import Session
from jetpost.mail.reply import EnhancedStatus, Reply

_POLICY = EnhancedStatus(4, 7, 0)
_TOO_MANY_ERRORS = Reply(421, _POLICY, ("Too many errors",))
_TOO_MANY_FAILURES = Reply(421, _POLICY, ("Too many failed authentications",))


def exhausted(session: Session, limits: Limits) -> Reply | None:
    """The last word to a session that has gone wrong too often (RFC 5321, 3.8: 421 before we close); None: go on."""
    if session.errors >= limits.command_errors:
        return _TOO_MANY_ERRORS
    if session.auth_failures >= limits.auth_failures:
        return _TOO_MANY_FAILURES
    return None
