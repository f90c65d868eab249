"""To whom a client may send: never an open relay."""

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

from ingress.policy.request import ListenerPolicy, PolicyRequest
from ingress.policy.verdict import Refuse, Verdict
from ingress.session.session import Session
from jetpost.mail.reply import EnhancedStatus, Reply

Network = IPv4Network | IPv6Network

_DENIED = Refuse(Reply(550, EnhancedStatus(5, 7, 1), ("Relaying denied",)), "relay")
_LITERAL = Refuse(Reply(550, EnhancedStatus(5, 1, 2), ("No mail to address literals",)), "literal")


def no_literal(asked: PolicyRequest) -> Verdict:
    """An address instead of a domain goes around DNS, and so around every policy about domains."""
    assert asked.destination is not None
    return _LITERAL if asked.destination.domain.startswith("[") else None


def permitted(asked: PolicyRequest) -> Verdict:
    """Anywhere for who is authenticated or of a listed network; else only to the listener's own domains."""
    assert asked.destination is not None
    if asked.session.identity or asked.destination.is_local or asked.destination.domain in asked.policy.domains:
        return None
    return None if may_relay(asked.session, asked.policy) else _DENIED


def may_relay(session: Session, policy: ListenerPolicy) -> bool:
    """Whether the client may send anywhere: it is one of ours."""
    return bool(session.identity) or is_in(session.client_address, policy.relay_networks)


@lru_cache(maxsize=4096)
def is_in(address: str, networks: tuple[Network, ...]) -> bool:
    """Whether the IP `address` is in one of `networks`; an IPv4 address mapped into IPv6 is what it stands for."""
    parsed = ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return any(parsed in network for network in networks)
