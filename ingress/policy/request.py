"""What a policy is asked about: a listener's terms, a session and its transaction, or a content."""

from typing import NamedTuple

from pydantic import IPvAnyNetwork

from ingress.content.facts import Facts
from ingress.policy.limits import Limits
from ingress.session.command import Destination
from ingress.session.session import Session, Transaction
from jetpost.config.section import DomainName, Section
from jetpost.mail.envelope import Envelope


class ListenerPolicy(Section):
    """On what terms a listener takes mail. With the defaults it takes none from anybody."""

    submission: bool = False
    """Whether clients are mail programs: what they hand in gets the Date and Message-ID it lacks (RFC 6409, 8)."""
    require_auth: bool = False
    """Offer AUTH (over TLS only) and insist on it, but for clients in `relay_networks`."""
    require_tls: bool = False
    """Refuse mail on a connection without TLS. `require_auth` implies it for those who must authenticate."""
    relay_networks: tuple[IPvAnyNetwork, ...] = ()
    """Networks whose clients may send to any domain without AUTH. Those that together have all public addresses are
    refused, as anybody could send to anybody (an open relay)."""
    domains: tuple[DomainName, ...] = ()
    """Domains to which anybody may send through this listener: the ones this system is an MX of."""


class PolicyRequest(NamedTuple):
    """What is known of a session, and of its transaction as far as it has come."""

    policy: ListenerPolicy
    limits: Limits
    session: Session
    transaction: Transaction | None = None
    """From MAIL on."""
    destination: Destination | None = None
    """At RCPT."""


class ContentRequest(NamedTuple):
    """What is known of a message that has arrived completely."""

    limits: Limits
    envelope: Envelope
    facts: Facts
