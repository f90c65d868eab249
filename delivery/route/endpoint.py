"""Where a connection leads, and what it must be. Pure."""

from enum import StrEnum
from typing import NamedTuple
from urllib.parse import urlsplit

from delivery.security.requirement import ClientCertificate, TlsMode


class Dialect(StrEnum):
    """The protocol that a host speaks."""

    SMTP = "smtp"
    LMTP = "lmtp"
    """RFC 2033."""


WITH_PASSWORDS = ("PLAIN", "LOGIN", "CRAM-MD5")
"""Mechanisms in the order of preference: hosts announce CRAM-MD5 that have no password they could check it with."""


class Grant(StrEnum):
    """How access tokens are asked for."""

    CLIENT_CREDENTIALS = "client_credentials"
    """RFC 6749, 4.4."""
    REFRESH = "refresh_token"
    """RFC 6749, 6."""
    JWT_BEARER = "jwt_bearer"
    """RFC 7523, 2.1."""


class TokenSource(NamedTuple):
    """Where access tokens come from. Secrets are only in their files, whose paths these are; empty: none."""

    grant: Grant
    token_url: str
    verified: str
    """What verifies the issuer's certificate: PUBLIC_CAS, or the path of a CA file. Empty: http."""
    client_id: str = ""
    scope: str = ""
    client_secret_file: str = ""
    secret_in_body: bool = False
    """The client's id and secret go in the form (RFC 6749, 2.3.1); otherwise as HTTP Basic authentication."""
    key_file: str = ""
    """What signs JWTs."""
    certificate_file: str = ""
    key_id: str = ""
    algorithm: str = ""
    refresh_token_file: str = ""
    issuer: str = ""
    """The `iss` of an assertion; empty: the client."""
    subject: str = ""
    audience: str = ""
    """The `aud` of JWTs; empty: the token URL."""

    @property
    def files(self) -> tuple[str, ...]:
        """Those that make a difference when they change."""
        named = (self.client_secret_file, self.key_file, self.certificate_file, self.refresh_token_file)
        return tuple(file for file in named if file)

    @property
    def host(self) -> str:
        """The issuer, for people: the host of its URL, and its port if it is not the usual one."""
        return urlsplit(self.token_url).netloc


class Login(NamedTuple):
    """The credentials with which a connection authenticates. The password itself is only in its file."""

    name: str
    """For logs and metrics."""
    user: str
    password_file: str
    """Empty with `tokens`."""
    mechanisms: tuple[str, ...] = ()
    """Those that may be used, in this order; empty: any."""
    without_tls: bool = False
    """Whether the password may be sent on a connection without TLS."""
    tokens: TokenSource | None = None
    """Where access tokens come from, in place of a password."""

    @property
    def files(self) -> tuple[str, ...]:
        """Those that the credentials are read from."""
        return (self.password_file,) if self.tokens is None else self.tokens.files


class ConnectionTerms(NamedTuple):
    """What a connection must be."""

    source: str = ""
    """The local address; empty: the system chooses."""
    tls: TlsMode = TlsMode.OPPORTUNISTIC
    implicit: bool = False
    """Whether TLS begins before SMTP does (RFC 8314, 3.3)."""
    verified: str = ""
    """What verifies the certificate and its name: PUBLIC_CAS, or the path of a CA file. Empty: not verified."""
    pins: tuple[str, ...] = ()
    """Of the host's key one of these must be the pin (RFC 7469, 2.4). Empty: any key."""
    client: ClientCertificate | None = None
    """What we show the host; None: nothing."""
    login: Login | None = None
    dialect: Dialect = Dialect.SMTP

    @property
    def tls_files(self) -> tuple[str, ClientCertificate | None]:
        """What TLS is made with."""
        return self.verified, self.client


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
