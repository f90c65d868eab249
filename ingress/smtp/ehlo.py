"""What a client may ask for on a listener at a moment: EHLO announces it, anything else is refused."""

from collections.abc import Mapping, Sequence

from ingress.listen.listener import ListenerSettings
from ingress.policy.verdict import Refuse
from ingress.session.commands import COMMANDS, Verb
from ingress.session.session import Session
from jetpost.mail.reply import EnhancedStatus, Reply

_BAD_SEQUENCE = EnhancedStatus(5, 5, 1)
_NOT_IMPLEMENTED = Refuse(Reply(502, _BAD_SEQUENCE, ("Not implemented",)), "sequence")
_TLS_ALREADY = Refuse(Reply(503, _BAD_SEQUENCE, ("TLS is on already",)), "sequence")
_NEEDS_TLS = Refuse(Reply(538, EnhancedStatus(5, 7, 11), ("Encryption required: say STARTTLS first",)), "tls")
_ONCE = Refuse(Reply(503, _BAD_SEQUENCE, ("Authenticated already",)), "sequence")


def offers_of(listener: ListenerSettings, mechanisms: Sequence[str]) -> Mapping[str, str]:
    """The extensions with a command of their own that a listener offers: keyword and parameters."""
    offers = {}
    if listener.tls == "starttls":
        offers["STARTTLS"] = "STARTTLS"
    if listener.require_auth:
        offers["AUTH"] = f"AUTH {' '.join(mechanisms)}"
    return offers


def not_now(command: Verb, session: Session, offers: Mapping[str, str]) -> Refuse | None:
    """Why a command of an extension cannot be carried out at this moment; None: it can.

    STARTTLS only until TLS is on (RFC 3207, 4.2), AUTH only from then on (RFC 4954, 4) and until it has been done.
    """
    if session.tls and not command.after_tls:
        return _TLS_ALREADY
    if command.keyword not in offers:
        return _NOT_IMPLEMENTED
    if not session.tls and not command.before_tls:
        return _NEEDS_TLS
    if session.identity and not command.after_auth:
        return _ONCE
    return None


def extensions(hostname: str, session: Session, message_bytes: int, offers: Mapping[str, str]) -> Reply:
    """The reply to EHLO (RFC 5321, 4.1.1.1): what may be asked for on this listener, at this moment."""
    lines = [
        f"{hostname} greets {session.client_name}",
        "PIPELINING",
        f"SIZE {message_bytes}",
        "8BITMIME",
        "SMTPUTF8",
        "ENHANCEDSTATUSCODES",
    ]
    possible = [command for command in _WITH_KEYWORD if not_now(command, session, offers) is None]
    lines += [offers[command.keyword] for command in possible]
    return Reply(250, None, tuple(lines))


_WITH_KEYWORD = tuple(command for command in COMMANDS.values() if command.keyword)
