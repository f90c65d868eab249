"""Messages that are too large, or have too many recipients."""

from ingress.policy.request import PolicyRequest
from ingress.policy.verdict import Refuse, Verdict
from jetpost.mail.reply import EnhancedStatus, Reply

TOO_LARGE = Refuse(Reply(552, EnhancedStatus(5, 3, 4), ("Message too large",)), "size")
_TOO_MANY = Refuse(
    Reply(452, EnhancedStatus(4, 5, 3), ("Too many recipients: send the rest separately",)), "recipients"
)


def declared_size(asked: PolicyRequest) -> Verdict:
    """What will be too large need not be sent (RFC 1870, 6.1)."""
    assert asked.transaction is not None
    return TOO_LARGE if asked.transaction.sender.parameters.size > asked.limits.message_bytes else None


def recipients(asked: PolicyRequest) -> Verdict:
    """A full envelope (RFC 5321, 4.5.3.1.10)."""
    assert asked.transaction is not None
    return _TOO_MANY if len(asked.transaction.destinations) >= asked.limits.recipients else None
