"""Whether the files of routes can be used, and what is odd about routes. It reads files: for a thread or a command."""

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from delivery.connect.auth.oauth.files import trouble
from delivery.connect.auth.passwords import usable_password
from delivery.route.actions.kinds import SMTP_PORT, SUBMISSION_PORT, SUBMISSIONS_PORT, HopTls, ToHosts, ToLmtp
from delivery.route.rules import Rule
from delivery.security.requirement import PUBLIC_CAS
from jetpost.reason import reason_of

_MOST_BYTES = 64 * 1024
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
        if file and str(file) != PUBLIC_CAS and (why := _ca_fault(Path(file))):
            yield f"{key}: cannot use {file}: {why}"
    if action.certificate_file is not None and action.key_file is not None:
        why = _pair_fault(action.certificate_file, action.key_file)
        if why:
            yield f"certificate_file: {action.certificate_file} and {action.key_file} cannot be used together: {why}"


def _remarks_of(action: Named) -> Iterator[str]:
    if action.tokens is not None and (why := trouble(action.tokens)):
        yield f"no access token can be requested: {why}"
    if action.auth is not None and action.auth.password_file is not None:
        file = action.auth.password_file
        if not _password_fault(file) and len(_read(file).rstrip(b"\r\n").splitlines()) > 1:
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


def _password_fault(file: Path) -> str:
    try:
        usable_password(_read(file))
    except (OSError, ValueError) as error:
        return reason_of(error)
    return ""


def _ca_fault(file: Path) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(file)
    except ssl.SSLError:
        return "it has no certificate (PEM)"
    except OSError as error:
        return reason_of(error)
    return "" if context.cert_store_stats()["x509"] else "it has no certificate (PEM)"


def _pair_fault(certificate: Path, key: Path) -> str:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, _no_passphrase)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            return "the key is not of this certificate"
        return f"one of them has no certificate or key (PEM) that can be used: {reason_of(error)}"
    except OSError as error:
        return reason_of(error)
    return ""


def _no_passphrase() -> NoReturn:
    raise ssl.SSLError("the key has a passphrase: use one without")


def _read(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(_MOST_BYTES)
