"""What a route does with its mail: the actions, as the configuration names them. Pure."""

from collections.abc import Mapping
from enum import StrEnum
from ipaddress import ip_address
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, IPvAnyAddress, model_validator

from delivery.route.actions.auth import Auth
from delivery.route.actions.presets import PRESETS, Issuer
from delivery.route.endpoint import ConnectionTerms, Dialect, Grant, TokenSource
from delivery.route.mx import is_host_name
from delivery.security.pins import checked_pin
from delivery.security.requirement import PUBLIC_CAS, ClientCertificate, TlsMode
from jetpost.config.section import ReadableFile, SecretFile, Section, matching

SMTP_PORT, SUBMISSION_PORT, SUBMISSIONS_PORT, LMTP_PORT = 25, 587, 465, 24


def _host(name: str) -> str:
    name = name.strip().removesuffix(".").lower()
    try:
        return str(ip_address(name))
    except ValueError:
        if not is_host_name(name):
            inner = name[1:-1] if name.startswith("[") and name.endswith("]") else ""
            hint = f"; write it without brackets: `{inner}`" if inner else ""
            raise ValueError(f"must be the name of a host or an IP address, got `{name}`{hint}") from None
    return name


class HopTls(StrEnum):
    """What TLS a route asks of its hosts."""

    IMPLICIT = "implicit"
    STARTTLS = "starttls"
    OPPORTUNISTIC = "opportunistic"
    NONE = "none"


_WITH_TLS = frozenset({HopTls.IMPLICIT, HopTls.STARTTLS})
"""What never goes on without."""


class Host(Section):
    """A host that takes a route's mail."""

    host: Annotated[str, AfterValidator(_host)]
    """Its name, which DNS resolves to addresses, or its IP address. MX records are not looked up. `localhost` and names
    below it are 127.0.0.1 and ::1 without DNS (RFC 6761, 6.3)."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """By default 465 with `tls: implicit`, else 587 with `auth` and 25 without. LMTP: 24."""
    preference: Annotated[int, Field(ge=0, le=65535)] = 10
    """Hosts with a lower number are tried first; the next number is tried when they cannot take the message."""
    weight: Annotated[int, Field(ge=0, le=65535)] = 1
    """The share of messages for which this host is the first of those with equal preference (RFC 2782). 0: it comes
    after the others."""


class ToMx(Section):
    """To the MX hosts of the recipient domain, on other terms than `delivery.attempt` and `delivery.route`."""

    kind: Literal["mx"]
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """The port of the MX hosts. Not set: `delivery.route.port`."""
    tls: TlsMode | None = None
    """`opportunistic`, `required` or `none`, as for `delivery.attempt.tls`, which counts when this is not set."""
    source_address: IPvAnyAddress | None = None
    """The local address of connections. Not set: `delivery.attempt.source_address`."""

    def terms(self, usual: ConnectionTerms) -> ConnectionTerms:
        """Of connections; `usual` are those of mail without a route."""
        source = usual.source if self.source_address is None else str(self.source_address)
        return usual._replace(source=source, tls=self.tls or usual.tls)


class _Named(Section):
    """What hosts that the configuration names have in common."""

    tls: HopTls = HopTls.STARTTLS
    """`implicit`: TLS from the first byte; `starttls`: STARTTLS, and no mail without it; `opportunistic`: STARTTLS
    where the host offers it; `none`: never."""
    verify: bool = True
    """With `implicit` and `starttls`: verify that the host's certificate is valid and has its name. The others verify
    nothing."""
    ca_file: ReadableFile | None = None
    """The CAs that may have issued the certificate (PEM). It is read again when it has changed. Not set: the public CAs
    of the system."""
    pins: Annotated[tuple[Annotated[str, AfterValidator(checked_pin)], ...], Field(max_length=16)] = ()
    """With `implicit` and `starttls`: the host's certificate must have one of these keys. Each is the base64 of the
    SHA-256 of a SubjectPublicKeyInfo (RFC 7469). Without `ca_file` the key alone counts: neither the issuer, the name
    nor the expiry of the certificate is verified. With `ca_file` both count. List the next key before it is used."""
    certificate_file: ReadableFile | None = None
    """The certificate that delivery shows a host which asks for one (PEM, with intermediate CAs behind it). It is read
    again when it has changed. It needs `implicit` or `starttls`."""
    key_file: SecretFile | None = None
    """Its private key (PEM, without a password)."""
    auth: Auth | None = None
    """The credentials. Not set: delivery does not authenticate."""
    insecure_auth: bool = False
    """With `tls: none`: send the credentials all the same, for anybody on the way to read."""
    source_address: IPvAnyAddress | None = None
    """The local address of connections. Not set: `delivery.attempt.source_address`."""

    @property
    def verifies(self) -> bool:
        """Whether certificates are verified."""
        return self.verify and self.tls in _WITH_TLS

    @property
    def tokens(self) -> TokenSource | None:
        """Where access tokens come from; None: none are needed."""
        return None if self.auth is None or self.auth.oauth is None else self.auth.oauth.source(self.auth.user)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.ca_file is not None and not self.verifies:
            raise ValueError("ca_file: nothing is verified; it needs `verify: true`, and `tls: starttls` or `implicit`")
        if self.pins and not self.verifies:
            raise ValueError("pins: nothing is verified; they need `verify: true`, and `tls: starttls` or `implicit`")
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file: it goes with `key_file`; set both or none")
        if self.certificate_file is not None and self.tls not in _WITH_TLS:
            raise ValueError("certificate_file: it is shown in TLS only; set `tls: starttls` or `tls: implicit`")
        if self.insecure_auth and (self.auth is None or self.tls is not HopTls.NONE):
            raise ValueError("insecure_auth: it is for `auth` with `tls: none`; leave it out")
        if self.auth is not None and self.tls is HopTls.OPPORTUNISTIC:
            raise ValueError("auth: `tls: opportunistic` may go on without TLS; set `tls: starttls` or `tls: implicit`")
        if self.auth is not None and self.tls is HopTls.NONE and not self.insecure_auth:
            raise ValueError(
                "auth: credentials are not sent without TLS; set `tls: starttls` or `tls: implicit`, "
                "or `insecure_auth: true`"
            )
        return self

    def _terms(self, route: str, source: str, dialect: Dialect) -> ConnectionTerms:
        modes = {HopTls.OPPORTUNISTIC: TlsMode.OPPORTUNISTIC, HopTls.NONE: TlsMode.NONE}
        by_cas = self.verifies and (self.ca_file is not None or not self.pins)
        client = None
        if self.certificate_file is not None and self.key_file is not None:
            client = ClientCertificate(str(self.certificate_file), str(self.key_file))
        login = None if self.auth is None else self.auth.login(route, without_tls=self.insecure_auth)
        return ConnectionTerms(
            source=source if self.source_address is None else str(self.source_address),
            tls=modes.get(self.tls, TlsMode.REQUIRED),
            implicit=self.tls is HopTls.IMPLICIT,
            verified=str(self.ca_file or PUBLIC_CAS) if by_cas else "",
            pins=tuple(sorted(set(self.pins))),
            client=client,
            login=login,
            dialect=dialect,
        )


class ToHosts(_Named):
    """To hosts that the configuration names: a smart host."""

    kind: Literal["hosts"]
    hosts: Annotated[tuple[Host, ...], Field(max_length=32)] = ()
    """The hosts. Required, unless `preset` names a provider."""
    preset: str = ""
    """A provider, which sets `hosts`, `tls` and `auth.mechanisms`: `microsoft-365`, `google-workspace`, `amazon-ses`,
    `sendgrid`, `mailgun`, `mailgun-eu`, `postmark` or `brevo`."""
    region: Annotated[str, matching(r"^[a-z0-9-]{0,40}$", "a region such as `us-east-1`")] = ""
    """The region of the provider, such as `us-east-1`, for `preset: amazon-ses`."""

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, given: Any) -> Any:
        """What the preset sets, under what is given."""
        preset = PRESETS.get(str(given.get("preset"))) if isinstance(given, Mapping) else None
        if preset is None:
            return given
        if given.get("hosts"):
            raise ValueError("hosts: `preset` sets them; leave one of the two out")
        name, mechanisms, auth = preset.host, preset.mechanisms, given.get("auth")
        if isinstance(auth, Mapping) and isinstance(auth.get("oauth"), Mapping) and preset.oauth is not None:
            name, mechanisms = preset.oauth.host, ("XOAUTH2",)
            auth = {**auth, "oauth": {**_usual(preset.oauth, auth["oauth"]), **auth["oauth"]}}
        if isinstance(auth, Mapping):
            auth = {"mechanisms": mechanisms, **auth}
        host = {"host": name.replace("{region}", str(given.get("region") or "region")), "port": preset.port}
        return {"tls": preset.tls, **given, "hosts": (host,), "auth": auth}

    @model_validator(mode="after")
    def _leads_somewhere(self) -> Self:
        preset = PRESETS.get(self.preset)
        if self.preset and preset is None:
            raise ValueError(f"preset: must be one of {', '.join(PRESETS)}, got `{self.preset[:80]}`")
        if not self.hosts:
            raise ValueError("hosts: is required, or a `preset`")
        if bool(self.region) != bool(preset and "{region}" in preset.host):
            raise ValueError("region: it is required for `preset: amazon-ses`, and means nothing without")
        return self

    @model_validator(mode="after")
    def _are_different(self) -> Self:
        _refuse_twice(self.hosts, self.usual_port)
        return self

    @property
    def usual_port(self) -> int:
        """The port of a host that has none of its own."""
        if self.tls is HopTls.IMPLICIT:
            return SUBMISSIONS_PORT
        return SMTP_PORT if self.auth is None else SUBMISSION_PORT

    def terms(self, route: str, source: str) -> ConnectionTerms:
        """Of connections of the route called so; from `source`, unless the action has an address of its own."""
        return self._terms(route, source, Dialect.SMTP)


class ToLmtp(_Named):
    """To a mailbox server over LMTP (RFC 2033), which replies for each recipient."""

    kind: Literal["lmtp"]
    hosts: Annotated[tuple[Host, ...], Field(max_length=32)] = ()
    """The servers. The port is 24 by default."""
    socket: Annotated[
        str,
        matching(
            r"^(/[^\x00]{1,100})?$", "a path from the root of at most 101 characters, such as `/run/dovecot/lmtp`"
        ),
    ] = ""
    """The path of a unix socket, in place of `hosts`."""
    tls: HopTls = HopTls.NONE
    """As for `kind: hosts`. By default `none`."""

    @model_validator(mode="after")
    def _leads_somewhere(self) -> Self:
        if bool(self.hosts) == bool(self.socket):
            raise ValueError("hosts: set either `hosts` or `socket`")
        if self.socket and self.tls is not HopTls.NONE:
            raise ValueError("tls: a unix socket has none; leave it out")
        _refuse_twice(self.hosts, self.usual_port)
        return self

    @property
    def usual_port(self) -> int:
        """The port of a host that has none of its own."""
        return LMTP_PORT

    def terms(self, route: str, source: str) -> ConnectionTerms:
        """Of connections of the route called so; from `source`, unless the action has an address of its own."""
        return self._terms(route, source, Dialect.LMTP)


class Discard(Section):
    """Nowhere: nobody gets the message, and the sender is not told. It counts as `discarded`."""

    kind: Literal["discard"]


class Fail(Section):
    """Nowhere: the recipients bounce, and the sender gets a DSN."""

    kind: Literal["fail"]
    status: Annotated[
        str, matching(r"^5\.[0-9]{1,3}\.[0-9]{1,3}$", "an enhanced status code that begins with 5, such as `5.7.1`")
    ] = "5.7.1"
    """The enhanced status code (RFC 3463)."""
    text: Annotated[str, matching(r"^[ -~]{1,400}$", "1 to 400 printable ASCII characters")] = (
        "mail to this recipient is not delivered"
    )
    """The reason, for the sender."""


def _usual(issuer: Issuer, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a preset sets of `auth.oauth`, where `given` does not."""
    usual: dict[str, Any] = {"kind": issuer.grant, "token_url": issuer.token_url, "scope": issuer.scope}
    if given.get("kind", issuer.grant) != Grant.JWT_BEARER:
        usual |= {"client_auth": "body", "algorithm": issuer.algorithm}
    return usual


def _refuse_twice(hosts: tuple[Host, ...], usual_port: int) -> None:
    places = [(host.host, host.port or usual_port) for host in hosts]
    for host, port in places:
        if places.count((host, port)) > 1:
            raise ValueError(f"hosts: {host} port {port} is there twice")
