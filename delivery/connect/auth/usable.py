"""Whether the files of routes can be used, and what is odd about routes. It reads files: for a thread or a command."""

from collections.abc import Iterator
from pathlib import Path

from delivery.connect.auth.oauth.files import trouble
from delivery.connect.auth.passwords import password_in
from delivery.route.actions.kinds import SMTP_PORT, SUBMISSION_PORT, SUBMISSIONS_PORT, HopTls, ToHosts, ToLmtp
from delivery.route.rules import Rule
from delivery.security.requirement import PUBLIC_CAS, ClientCertificate
from jetpost.reason import reason_of

_STARTTLS_PORTS = (SMTP_PORT, SUBMISSION_PORT)

Named = ToHosts | ToLmtp


def faults(rules: tuple[Rule, ...]) -> tuple[str, ...]:
    """What no connection of a route can be made with, until a file is another one."""
    return tuple(f"delivery.routes ({name}): {why}" for name, action in _named(rules) for why in _faults_of(action))


def remarks(rules: tuple[Rule, ...]) -> tuple[str, ...]:
    """What may work, and seldom does."""
    return tuple(f"delivery.routes ({name}): {why}" for name, action in _named(rules) for why in _remarks_of(action))


def _named(rules: tuple[Rule, ...]) -> Iterator[tuple[str, Named]]:
    for rule in rules:
        for action in (rule.action, rule.fallback):
            if isinstance(action, ToHosts | ToLmtp):
                yield rule.name, action


def _faults_of(action: Named) -> Iterator[str]:
    if action.auth is not None and action.auth.password_file is not None:
        why = _password_fault(action.auth.password_file)
        if why:
            yield f"auth.password_file: cannot use {action.auth.password_file}: {why}"
    tokens = action.tokens
    for key, file in (("ca_file", action.ca_file), ("auth.oauth.ca_file", tokens.verified if tokens else None)):
        if file and str(file) != PUBLIC_CAS and (why := _tls_fault(str(file))):
            yield f"{key}: {why}"
    if action.certificate_file is not None and action.key_file is not None:
        client = ClientCertificate(str(action.certificate_file), str(action.key_file))
        if why := _tls_fault("", client):
            yield f"certificate_file: {why}"


def _remarks_of(action: Named) -> Iterator[str]:
    if action.tokens is not None and (why := trouble(action.tokens)):
        yield f"no access token can be requested: {why}"
    if action.auth is not None and action.auth.password_file is not None:
        file = action.auth.password_file
        if not _password_fault(file) and len(password_in(file).splitlines()) > 1:
            yield f"auth.password_file: {file} has several lines, and all of them are the password"
    if isinstance(action, ToHosts):
        yield from _ports_of(action)


def _ports_of(action: ToHosts) -> Iterator[str]:
    for it in action.hosts:
        port = it.port or action.usual_port
        if action.tls is HopTls.IMPLICIT and port in _STARTTLS_PORTS:
            yield f"tls: {it.host} has port {port}, where hosts expect STARTTLS; did you mean `tls: starttls`?"
        elif action.tls is not HopTls.IMPLICIT and port == SUBMISSIONS_PORT:
            yield f"tls: {it.host} has port {port}, where hosts expect TLS at once; did you mean `tls: implicit`?"


def _tls_fault(verified: str, client: ClientCertificate | None = None) -> str:
    # Every command reads the configuration, and few of them have such files.
    from delivery.security.contexts import fault  # noqa: PLC0415

    return fault(verified, client)


def _password_fault(file: Path) -> str:
    try:
        password_in(file)
    except (OSError, ValueError) as error:
        return reason_of(error)
    return ""
