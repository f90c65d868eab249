"""The section `ingress`, assembled from its rooms."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from ingress.auth.backend import Auth
from ingress.listen.listener import ListenerSettings
from ingress.policy.limits import Limits
from ingress.verify.sender_demands import SenderCheck
from jetpost.config.section import Section
from jetpost.mail.address import path
from jetpost.process.tls import Tls

_LOCAL = ListenerSettings.model_validate({"name": "local", "port": 2525, "relay_networks": ["127.0.0.0/8", "::1/128"]})

_NO_POSTMASTER = (
    "ingress.postmaster is not set: who writes to <postmaster> is refused, but RFC 5321 wants somebody to read it"
)


def _reader(address: str) -> str:
    """An address that anybody can write to: a client need not say SMTPUTF8 to reach the postmaster."""
    found = path(f"<{address}>")
    if address and (not address.isascii() or found is None or found[1] or found[0].is_literal or not found[0].domain):
        raise ValueError(f"must be an address such as admin@example.org, got `{address}`")
    return address


class Ingress(Section):
    """The service that accepts mail."""

    listeners: Annotated[tuple[ListenerSettings, ...], Field(min_length=1)] = (_LOCAL,)
    """Where mail is accepted, and on what terms. By default on 127.0.0.1:2525, from this machine alone: anything more
    needs a certificate, users or domains, and so a decision. The usual three: `submission` on 587 (`tls: starttls`,
    `submission: true`, `require_auth: true`), `submissions` on 465 (the same with `tls: implicit`), `relay` on 25
    (`tls: starttls`, `domains`)."""
    tls: Tls | None = None
    """The certificate for STARTTLS and implicit TLS."""
    auth: Auth = Auth()
    """How users are known."""
    postmaster: Annotated[str, AfterValidator(_reader)] = ""
    """The address of whoever reads mail to this system's postmaster. RFC 5321, 4.5.1 demands that there is one: mail to
    `<postmaster>`, and to `postmaster` at `hostname`, is taken from anybody and goes there. Empty: `<postmaster>` is
    refused (550 5.1.1), and `postmaster` at `hostname` is an address like any other."""
    sender_check: SenderCheck = SenderCheck()
    """Whether senders meet what large providers demand. By default nothing is checked."""
    limits: Limits = Limits()
    """What one client, and all of them together, may ask for."""
    reuse_port: bool = False
    """Let several processes listen on the same port of one machine (SO_REUSEPORT)."""
    drain_s: Annotated[float, Field(ge=0)] = 30
    """Seconds that transactions in flight may take to end when the process is told to stop. Idle sessions end at once,
    with 421."""

    @model_validator(mode="after")
    def _listeners_have_what_they_need(self) -> Self:
        for listener in self.listeners:
            if listener.tls != "none" and self.tls is None:
                raise ValueError(f"listener {listener.name}: `tls: {listener.tls}` needs `ingress.tls`, a certificate")
            if listener.require_auth and listener.tls == "none":
                raise ValueError(f"listener {listener.name}: AUTH is offered over TLS only; set `tls`")
            if listener.require_auth and not self.auth.backends:
                raise ValueError(f"listener {listener.name}: `require_auth` needs one of `ingress.auth.backends`")
            if listener.require_tls and listener.tls == "none":
                raise ValueError(f"listener {listener.name}: `require_tls` needs `tls: starttls` or `tls: implicit`")
        names = [listener.name for listener in self.listeners]
        if len(set(names)) < len(names):
            raise ValueError("two listeners have the same name")
        return self

    def remarks(self) -> tuple[str, ...]:
        """What is no mistake, and still no good."""
        of_listeners = tuple(remark for listener in self.listeners for remark in listener.remarks())
        return of_listeners if self.postmaster else (_NO_POSTMASTER, *of_listeners)
