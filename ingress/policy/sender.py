"""Who may begin a transaction."""

from ingress.policy.relay import is_in
from ingress.policy.request import PolicyRequest
from ingress.policy.verdict import Refuse, Verdict
from jetpost.mail.reply import EnhancedStatus, Reply

_POLICY = EnhancedStatus(5, 7, 0)
_NEEDS_TLS = Refuse(Reply(530, _POLICY, ("Must issue a STARTTLS command first",)), "tls")
_NEEDS_AUTH = Refuse(Reply(530, _POLICY, ("Authentication required",)), "auth")


def protected(asked: PolicyRequest) -> Verdict:
    """TLS where the listener insists on it (RFC 3207, 4)."""
    return _NEEDS_TLS if asked.policy.require_tls and not asked.session.tls else None


def authenticated(asked: PolicyRequest) -> Verdict:
    """AUTH where the listener insists on it (RFC 4954, 6; RFC 6409, 4.3), unless the network may relay anyway."""
    if not asked.policy.require_auth or asked.session.identity:
        return None
    return None if is_in(asked.session.client_address, asked.policy.relay_networks) else _NEEDS_AUTH
