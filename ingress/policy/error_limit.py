"""When a session has been told no often enough, or has asked often enough for what leads nowhere."""

from ingress.policy.limits import Limits
from ingress.policy.verdict import Refuse
from ingress.session.session import Session
from jetpost.mail.reply import EnhancedStatus, Reply

_POLICY = EnhancedStatus(4, 7, 0)
_TOO_MANY_ERRORS = Refuse(Reply(421, _POLICY, ("Too many errors",)), "errors")
_TOO_MANY_FAILURES = Refuse(Reply(421, _POLICY, ("Too many failed authentications",)), "auth")
_TOO_MANY_COMMANDS = Refuse(Reply(421, _POLICY, ("Too many commands without a message",)), "commands")


def exhausted(session: Session, limits: Limits) -> Refuse | None:
    """The last word to a session that has gone wrong too often (RFC 5321, 3.8: 421 before we close); None: go on."""
    if session.errors >= limits.command_errors:
        return _TOO_MANY_ERRORS
    if session.auth_failures >= limits.auth_failures:
        return _TOO_MANY_FAILURES
    if session.commands_without_message >= limits.commands_without_message:
        return _TOO_MANY_COMMANDS
    return None
