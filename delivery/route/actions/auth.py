"""The credentials of a route: passwords, access tokens and where they come from, as the configuration has it. Pure."""

from ipaddress import ip_address
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from delivery.route.endpoint import Grant, Login, TokenSource
from delivery.security.requirement import PUBLIC_CAS
from jetpost.config.section import ReadableFile, SecretFile, Section, matching

TOKEN_MECHANISMS = ("OAUTHBEARER", "XOAUTH2")
"""Those of access tokens, the standard one first."""
_TENANT = "{tenant}"
_Text = Annotated[str, matching(r"^[\x20-\x7e]{0,1000}$", "at most 1000 printable ASCII characters")]


def _token_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.username is not None or parts.fragment or not (url.isascii() and url.isprintable()):
        raise ValueError("must be a URL such as https://issuer.example.org/token, without a user, a password and a `#`")
    if " " in url:
        raise ValueError("a URL has no spaces")
    return url


class _Issuer(Section):
    """What all ways to an access token have in common."""

    token_url: Annotated[str, AfterValidator(_token_url)] = ""
    """The issuer's token endpoint. `{tenant}` in it is replaced by `tenant`. Required, unless a `preset` sets it."""
    tenant: Annotated[
        str, matching(r"^[A-Za-z0-9.-]{0,255}$", "an ID or a domain: at most 255 letters, digits, dots and hyphens")
    ] = ""
    """The organization at the issuer, for a `token_url` with `{tenant}`. Microsoft: the directory (tenant) ID or a
    domain."""
    scope: _Text = ""
    """The scopes that are asked for, with spaces between them. Empty: what the issuer gives by default."""
    ca_file: ReadableFile | None = None
    """The CAs that may have issued the issuer's certificate (PEM). Not set: the public CAs of the system."""
    insecure_http: bool = False
    """Use a `token_url` with http to other hosts than this one: anybody on the way can read secrets and tokens."""

    @model_validator(mode="after")
    def _leads_to_an_issuer(self) -> Self:
        if not self.token_url:
            raise ValueError("token_url: is required")
        if bool(self.tenant) != (_TENANT in self.token_url):
            raise ValueError("tenant: it is required if `token_url` has `{tenant}`, and means nothing without")
        plain = urlsplit(self.token_url).scheme == "http"
        if plain and not (self.insecure_http or _is_here(self.token_url)):
            raise ValueError("token_url: secrets are not sent without TLS; use https, or set `insecure_http: true`")
        if self.insecure_http and not plain:
            raise ValueError("insecure_http: it is for a `token_url` with http; leave it out")
        if plain and self.ca_file is not None:
            raise ValueError("ca_file: nothing is verified with http; leave it out")
        return self

    @property
    def url(self) -> str:
        """The token endpoint."""
        return self.token_url.replace(_TENANT, self.tenant)

    @property
    def verified(self) -> str:
        """What verifies the issuer."""
        if urlsplit(self.token_url).scheme == "http":
            return ""
        return PUBLIC_CAS if self.ca_file is None else str(self.ca_file)


class _Client(_Issuer):
    """A client that authenticates to the issuer."""

    client_id: Annotated[str, matching(r"^[\x20-\x7e]{1,1000}$", "1 to 1000 printable ASCII characters")]
    """The client (application) ID."""
    client_secret_file: SecretFile | None = None
    """The file with the client secret: its text, without the line end."""
    client_auth: Literal["basic", "body"] = "basic"
    """Where the secret is sent: HTTP Basic authentication, or the form (RFC 6749, 2.3.1)."""
    key_file: SecretFile | None = None
    """In place of a secret: the private key (PEM) that signs a client assertion (RFC 7523, 2.2)."""
    certificate_file: ReadableFile | None = None
    """The certificate (PEM) of `key_file`. Its thumbprint goes into the assertion (`x5t` and `x5t#S256`)."""
    key_id: _Text = ""
    """The `kid` of the assertion."""
    algorithm: Literal["", "RS256", "PS256", "ES256", "ES384"] = ""
    """How the assertion is signed. Empty: RS256, or what fits an elliptic curve."""
    audience: _Text = ""
    """The `aud` of the assertion. Empty: the token endpoint."""

    @model_validator(mode="after")
    def _authenticates_in_one_way(self) -> Self:
        if self.client_secret_file is not None and self.key_file is not None:
            raise ValueError("client_secret_file: set either this or `key_file`")
        if self.key_file is None and (self.certificate_file is not None or self.key_id or self.audience):
            raise ValueError("key_file: `certificate_file`, `key_id` and `audience` mean nothing without")
        return self

    def _source(self, grant: Grant, refresh_token_file: str = "") -> TokenSource:
        return TokenSource(
            grant,
            self.url,
            self.verified,
            client_id=self.client_id,
            scope=self.scope,
            client_secret_file=_path(self.client_secret_file),
            secret_in_body=self.client_auth == "body",
            key_file=_path(self.key_file),
            certificate_file=_path(self.certificate_file),
            key_id=self.key_id,
            algorithm=self.algorithm,
            refresh_token_file=refresh_token_file,
            audience=self.audience,
        )


class ClientCredentials(_Client):
    """Tokens of the application itself (RFC 6749, 4.4). Microsoft 365 allows this."""

    kind: Literal["client_credentials"] = "client_credentials"

    @model_validator(mode="after")
    def _authenticates(self) -> Self:
        if self.client_secret_file is None and self.key_file is None:
            raise ValueError("client_secret_file: is required, or `key_file`")
        return self

    def source(self, user: str) -> TokenSource:
        """Where the tokens come from. They are not of a `user`."""
        del user
        return self._source(Grant.CLIENT_CREDENTIALS)


class RefreshToken(_Client):
    """Tokens of a user who has once allowed it (RFC 6749, 6)."""

    kind: Literal["refresh_token"] = "refresh_token"
    refresh_token_file: SecretFile
    """The file with the refresh token. If the issuer replaces it, the process uses the new one until it ends or the
    file changes. An issuer that accepts each refresh token only once is not for several processes."""

    def source(self, user: str) -> TokenSource:
        """Where the tokens come from. The refresh token decides whose they are, not `user`."""
        del user
        return self._source(Grant.REFRESH, str(self.refresh_token_file))


class JwtBearer(_Issuer):
    """Tokens for a signed assertion about a user (RFC 7523, 2.1). Google's service accounts use this."""

    kind: Literal["jwt_bearer"] = "jwt_bearer"
    key_file: SecretFile
    """The private key (PEM) that signs the assertion, or the JSON file of a Google service account. In the latter case
    it also sets `client_id` and `key_id`."""
    client_id: _Text = ""
    """Who issues the assertion (`iss`): the client ID or the address of the service account."""
    key_id: _Text = ""
    """The `kid` of the assertion."""
    algorithm: Literal["", "RS256", "PS256", "ES256", "ES384"] = ""
    """How the assertion is signed. Empty: RS256, or what fits an elliptic curve."""
    subject: _Text = ""
    """Whom the assertion is about (`sub`): the mailbox. Empty: `auth.user`."""
    audience: _Text = ""
    """The `aud` of the assertion. Empty: the token endpoint."""

    def source(self, user: str) -> TokenSource:
        """Where the tokens of `user` come from."""
        return TokenSource(
            Grant.JWT_BEARER,
            self.url,
            self.verified,
            scope=self.scope,
            key_file=str(self.key_file),
            key_id=self.key_id,
            algorithm=self.algorithm,
            issuer=self.client_id,
            subject=self.subject or user,
            audience=self.audience,
        )


OAuth = Annotated[ClientCredentials | RefreshToken | JwtBearer, Field(discriminator="kind")]


class Auth(Section):
    """The credentials with which delivery authenticates to the hosts of a route."""

    user: Annotated[
        str, matching(r"^[^\x00-\x1f\x7f]{1,255}$", "1 to 255 characters, none of them a control character")
    ]
    """The user name. With `oauth` it is the mailbox that sends."""
    password_file: SecretFile | None = None
    """The file with the password: its text, without the line end. It is read again when it has changed. For XOAUTH2 and
    OAUTHBEARER without `oauth` it has an access token, which somebody else renews."""
    oauth: OAuth | None = None
    """In place of `password_file`: where delivery gets access tokens, which it renews before they expire."""
    mechanisms: tuple[Literal["PLAIN", "LOGIN", "CRAM-MD5", "XOAUTH2", "OAUTHBEARER"], ...] = ()
    """The mechanisms that may be used, in this order. Empty: the first of PLAIN, LOGIN and CRAM-MD5 that the host
    offers. With `oauth`: the first of OAUTHBEARER and XOAUTH2."""
    name: Annotated[
        str, matching(r"^[A-Za-z0-9._@-]{0,63}$", "at most 63 letters, digits, dots, underscores, hyphens and `@`")
    ] = ""
    """The name of the credentials in metrics, alerts and logs. Empty: the name of the route."""

    @model_validator(mode="after")
    def _has_one_secret(self) -> Self:
        if self.password_file is None and self.oauth is None:
            raise ValueError("password_file: is required, or `oauth`")
        if self.password_file is not None and self.oauth is not None:
            raise ValueError("password_file: set either this or `oauth`")
        if self.oauth is not None and not set(self.mechanisms) <= set(TOKEN_MECHANISMS):
            raise ValueError("mechanisms: with `oauth` they are XOAUTH2 and OAUTHBEARER; a token is no password")
        return self

    def login(self, route: str, *, without_tls: bool) -> Login:
        """The credentials, of the route called so."""
        if self.oauth is None:
            return Login(self.name or route, self.user, str(self.password_file), self.mechanisms, without_tls)
        mechanisms = self.mechanisms or TOKEN_MECHANISMS
        return Login(self.name or route, self.user, "", mechanisms, without_tls, self.oauth.source(self.user))


def _path(file: object | None) -> str:
    return "" if file is None else str(file)


def _is_here(url: str) -> bool:
    """Whether a URL leads to a loopback address."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
