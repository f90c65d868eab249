"""What a client hears that has said who it is."""

from ingress.auth.exchange import MECHANISMS
from ingress.listener import ListenerSettings
from ingress.session.transaction import Session
from jetpost.mail.reply import Reply


def extensions(hostname: str, session: Session, listener: ListenerSettings, message_bytes: int) -> Reply:
    """The reply to EHLO (RFC 5321, 4.1.1.1): what may be asked for on this listener, at this moment.

    STARTTLS until TLS is on (RFC 3207, 4.2), AUTH only from then on (RFC 4954, 4) and until it has been done.
    """
    lines = [
        f"{hostname} greets {session.client_name}",
        "PIPELINING",
        f"SIZE {message_bytes}",
        "8BITMIME",
        "SMTPUTF8",
        "ENHANCEDSTATUSCODES",
    ]
    if listener.tls == "starttls" and not session.tls:
        lines.append("STARTTLS")
    if listener.require_auth and session.tls and not session.identity:
        lines.append(f"AUTH {' '.join(MECHANISMS)}")
    return Reply(250, None, tuple(lines))
