"""Where a connection leads, and what it must be. Pure."""

from typing import NamedTuple

from delivery.security.requirement import TlsMode


class ConnectionTerms(NamedTuple):
    """What a connection must be."""

    source: str = ""
    """The local address; empty: the system chooses."""
    tls: TlsMode = TlsMode.OPPORTUNISTIC


class Endpoint(NamedTuple):
    """One address of a host, and the terms of a connection to it.

    A connection serves messages whose endpoint is equal to its own, and no other: one that was opened with less
    protection, or from another source address, never carries mail that needs more.
    """

    host: str
    """The name under which TLS is asked for."""
    address: str
    port: int
    terms: ConnectionTerms = ConnectionTerms()
