"""How to mend a route whose host did not let us in, by what was found. Pure."""

from typing import NamedTuple

from delivery.classify.phases import Phase

_NOT_TLS = ("wrong_version_number", "wrong version number", "record_layer_failure", "record layer failure")
_OF_TLS: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("offers no tls",),
        "The host has no STARTTLS at this port: use its port with TLS from the first byte (`tls: implicit`).",
    ),
    (("`pins`",), "If the host has a new key, add it to `pins`."),
    (
        ("certificate verify failed", "certificate_verify_failed", "hostname mismatch", "doesn't match"),
        "Name the host as its certificate does, or name the CA of the certificate in `ca_file`.",
    ),
    (
        ("certificate required", "certificate_required", "bad_certificate", "bad certificate"),
        "The host does not accept the certificate that it is shown: correct `certificate_file` and `key_file`.",
    ),
)
"""Words of OpenSSL and our own, and what to do."""

IN_DNS = "Correct the name of the host, or publish its address."
MORE_TIME = "See whether the host answers; give the check more time with `--within`."
OUR_FILES = "Let this process open more files (`ulimit -n`)."


class Failure(NamedTuple):
    """What came of a connection."""

    phase: Phase
    why: str
    code: int = 0
    """Of the reply; 0: there was none."""
    implicit: bool = False
    """TLS was to begin at once."""
    socket: bool = False
    """The host is a unix socket."""


def mend(failure: Failure) -> str:
    """What to do about it."""
    match failure.phase:
        case Phase.CONNECT if failure.socket:
            return "Start the mailbox server, or correct `socket`. This process must be able to open it."
        case Phase.CONNECT:
            return "Correct `host` or `port`, start the host, or let a firewall or network policy pass the port."
        case Phase.GREETING if failure.code:
            return "The host refuses connections from here: ask its operator."
        case Phase.GREETING if failure.implicit or failure.socket:
            return "See whether the host speaks the protocol of the route (SMTP or LMTP) there."
        case Phase.GREETING:
            return "The port may expect TLS from the first byte: try `tls: implicit`."
        case Phase.EHLO:
            return "The host does not accept our greeting: see `hostname`, and whether it speaks SMTP or LMTP there."
        case Phase.STARTTLS:
            return _of_tls(failure)
        case _:
            return _of_auth(failure)


def _of_tls(failure: Failure) -> str:
    why = failure.why.lower()
    if why.startswith("cannot use "):
        return "Correct `ca_file`, `certificate_file` or `key_file`: one of them cannot be used."
    if failure.implicit and any(it in why for it in _NOT_TLS):
        return "The port does not begin with TLS: try `tls: starttls`."
    known = next((text for words, text in _OF_TLS if any(it in why for it in words)), "")
    if known:
        return known
    if failure.code:
        return "The host refuses STARTTLS: ask its operator, or use `tls: implicit` if it has a port for that."
    also = " If it has STARTTLS, set `tls: starttls`." if failure.implicit else ""
    return f"See which TLS the host has at this port.{also}"


def _of_auth(failure: Failure) -> str:
    why = failure.why
    if why.startswith("cannot read password file"):
        return "Put the password into the file, and let this process read it."
    if why.startswith("the token issuer ") and "refuses the credentials" in why:
        return "Correct the client, its secret or key, or its permission at the issuer."
    if why.startswith("the token issuer "):
        return "The issuer gives no token now: see its state, or correct `token_url`. The host was not asked."
    if why.startswith("cannot use "):
        return "Correct the file: no access token can be requested with it."
    if failure.code >= 500:
        return "Correct the user or the password (`auth`), and see whether the host lets this user send."
    if failure.code:
        return "The host cannot authenticate now: try again later, or ask its operator."
    return "See which mechanisms the host offers, and name them in `auth.mechanisms`. Some are offered in TLS only."
