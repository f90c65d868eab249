"""Where a connection leads, and what it must be. Pure."""

from enum import StrEnum
from typing import NamedTuple

from delivery.security.requirement import TlsMode


class Dialect(StrEnum):
    """The protocol that a host speaks."""

    SMTP = "smtp"
    LMTP = "lmtp"
    """RFC 2033."""


class Login(NamedTuple):
    """The credentials with which a connection authenticates. The password itself is only in its file."""

    name: str
    """For logs and metrics."""
    user: str
    password_file: str
    mechanisms: tuple[str, ...] = ()
    """Those that may be used, in this order; empty: any."""
    without_tls: bool = False
    """Whether the password may be sent on a connection without TLS."""


class ConnectionTerms(NamedTuple):
    """What a connection must be."""

    source: str = ""
    """The local address; empty: the system chooses."""
    tls: TlsMode = TlsMode.OPPORTUNISTIC
    implicit: bool = False
    """Whether TLS begins before SMTP does (RFC 8314, 3.3)."""
    verified: str = ""
    """What verifies the certificate and its name: PUBLIC_CAS, or the path of a CA file. Empty: not verified."""
    login: Login | None = None
    dialect: Dialect = Dialect.SMTP


class Endpoint(NamedTuple):
    """One address of a host, and the terms of a connection to it.

    A connection serves messages whose endpoint is equal to its own, and no other: one that was opened with less
    protection, with other credentials or from another source address never carries mail that needs more.
    """

    host: str
    """The name under which TLS is asked for."""
    address: str
    """An IP address; or the path of a unix socket, which begins with a slash."""
    port: int
    terms: ConnectionTerms = ConnectionTerms()
