"""From an address to a connection: connect, greeting, EHLO, TLS as its terms want it."""

import asyncio
import errno
import os
import ssl
from typing import Literal

from prometheus_client import Counter

from delivery.classify.phases import ConnectionBroke, Phase
from delivery.connect.connection import Connection
from delivery.connect.extensions import Limits, limits, offered
from delivery.connect.settings import ConnectSettings
from delivery.route.endpoint import ConnectionTerms, Dialect, Endpoint
from delivery.security.contexts import loaded
from delivery.security.pins import pin_of
from delivery.security.requirement import Hop, judge
from jetpost.mail.reply import Reply
from jetpost.reason import reason_of

OPENED = Counter(
    "jetpost_delivery_connections_opened_total", "Connections opened to MX hosts. Labels: `tls` is yes or no.", ["tls"]
)

_OUT_OF_FILES = frozenset({errno.EMFILE, errno.ENFILE})


class Refusal(Exception):  # noqa: N818 — carries a value to the one place that turns it into an outcome
    """A connection could not be made ready for mail."""

    def __init__(self, phase: Phase, answer: Reply | ConnectionBroke) -> None:
        super().__init__(answer.why if isinstance(answer, ConnectionBroke) else str(answer))
        self.phase = phase
        self.answer = answer


class TlsFailure(Refusal):
    """TLS failed: somewhere between STARTTLS and the first command that the host accepted inside."""

    def __init__(self, at: Literal["starttls", "handshake", "ehlo"], answer: Reply | ConnectionBroke) -> None:
        super().__init__(Phase.STARTTLS, answer)
        self.at = at


class OutOfFiles(Exception):  # noqa: N818 — our own trouble, which says nothing about any host
    """The process, or the system, cannot open one more file."""


async def opened(
    endpoint: Endpoint,
    hostname: str,
    settings: ConnectSettings,
    *,
    until: float,
    plain: bool = False,
    session: ssl.SSLSession | None = None,
) -> Connection:
    """A new connection to `endpoint`, ready for MAIL or AUTH: dial, greet, secure.

    Refusal when the host cannot be used; OutOfFiles when there is no file descriptor for it. `hostname` is our own;
    `until` is when the attempt has had its time, on the loop's clock; `plain`: TLS has failed with this host lately;
    `session` is the TLS session to resume.
    """
    connection = await _dial(endpoint, settings, until)
    connection.until = until
    terms = endpoint.terms
    try:
        if terms.implicit:
            await _shake_hands(connection, terms, settings)
        await _expect(connection, Phase.GREETING, settings.timeouts.greeting_s)
        await _greet(connection, hostname, settings)
        if not terms.implicit:
            await _secure(connection, hostname, terms, settings, plain=plain, session=session)
    except BaseException:
        connection.abort()
        raise
    OPENED.labels("yes" if connection.is_secure else "no").inc()
    return connection


async def _dial(endpoint: Endpoint, settings: ConnectSettings, until: float) -> Connection:
    source = (endpoint.terms.source, 0) if endpoint.terms.source else None
    loop = asyncio.get_running_loop()
    timeout_s = max(min(settings.timeouts.connect_s, until - loop.time()), 0)
    try:
        async with asyncio.timeout(timeout_s):
            if endpoint.address.startswith("/"):
                _, connection = await loop.create_unix_connection(lambda: Connection(endpoint.host), endpoint.address)
            else:
                _, connection = await loop.create_connection(
                    lambda: Connection(endpoint.host), endpoint.address, endpoint.port, local_addr=source
                )
    except TimeoutError:
        raise Refusal(
            Phase.CONNECT, ConnectionBroke(f"{endpoint.address} did not answer within {timeout_s:.3g} s")
        ) from None
    except OSError as error:
        if error.errno in _OUT_OF_FILES:
            raise OutOfFiles(error.strerror or reason_of(error)) from error
        raise Refusal(Phase.CONNECT, ConnectionBroke(_said(error))) from error
    connection.is_lmtp = endpoint.terms.dialect is Dialect.LMTP
    return connection


def _said(error: OSError) -> str:
    """What asyncio says, which names the address; and the system, which says why."""
    said, why = error.strerror or reason_of(error), os.strerror(error.errno or 0)
    return said if not error.errno or why.lower() in said.lower() else f"{said}: {why}"


async def _expect(connection: Connection, phase: Phase, timeout_s: float) -> Reply:
    answer = await connection.reply(timeout_s)
    if isinstance(answer, ConnectionBroke) or not answer.is_completion:
        raise Refusal(phase, answer)
    return answer


async def _greet(connection: Connection, hostname: str, settings: ConnectSettings) -> None:
    """EHLO, or HELO with a host that does not know it (RFC 5321, 3.2). LMTP has LHLO alone (RFC 2033, 4.1)."""
    connection.send(f"{'LHLO' if connection.is_lmtp else 'EHLO'} {hostname}\r\n".encode())
    answer = await connection.whole_reply(settings.timeouts.ehlo_s)
    if isinstance(answer, ConnectionBroke):
        raise Refusal(Phase.EHLO, answer)
    if answer.is_completion:
        connection.extensions = offered(answer.text)
        connection.limits = limits(connection.extensions)
        return
    if connection.is_lmtp or not answer.is_permanent:
        raise Refusal(Phase.EHLO, answer.brief())
    connection.extensions, connection.limits = {}, Limits()
    helo = await connection.command(f"HELO {hostname}", settings.timeouts.ehlo_s)
    if isinstance(helo, ConnectionBroke):
        raise Refusal(Phase.EHLO, answer.brief())  # what it said before it left
    if not helo.is_completion:
        raise Refusal(Phase.EHLO, helo)


async def _secure(
    connection: Connection,
    hostname: str,
    terms: ConnectionTerms,
    settings: ConnectSettings,
    *,
    plain: bool,
    session: ssl.SSLSession | None,
) -> None:
    """STARTTLS as `terms` ask, and EHLO again inside (RFC 3207, 4.2)."""
    match judge(terms.tls, offered="STARTTLS" in connection.extensions, failed_before=plain):
        case Hop.PLAIN:
            return
        case Hop.REFUSE:
            raise Refusal(Phase.STARTTLS, ConnectionBroke("offers no TLS, which is required"))
        case Hop.START:
            pass
    answer = await connection.command("STARTTLS", settings.timeouts.tls_s)
    if isinstance(answer, ConnectionBroke) or not answer.is_completion:
        raise TlsFailure("starttls", answer)
    await _shake_hands(connection, terms, settings, session)
    try:
        await _greet(connection, hostname, settings)
    except Refusal as refusal:  # TLS 1.3 hosts refuse us only now, and others close
        raise TlsFailure("ehlo", refusal.answer) from refusal


async def _shake_hands(
    connection: Connection, terms: ConnectionTerms, settings: ConnectSettings, session: ssl.SSLSession | None = None
) -> None:
    try:
        context, connection.tls_files = await loaded(terms.verified, terms.client, settings.timeouts.tls_s)
    except OSError as error:  # TimeoutError and ssl.SSLError are some
        raise TlsFailure("handshake", ConnectionBroke(reason_of(error))) from error
    if terms.implicit and connection.has_heard:
        # What came in clear is dropped, and a host without TLS would say nothing more: nobody would ever end it.
        raise TlsFailure("handshake", ConnectionBroke("TLS failed: WRONG_VERSION_NUMBER: it speaks before TLS"))
    if (why := await connection.secure(context, settings.timeouts.tls_s, session)) is not None:
        raise TlsFailure("handshake", ConnectionBroke(why))
    if terms.pins and (pin := _pin(connection)) not in terms.pins:
        raise TlsFailure("handshake", ConnectionBroke(f"TLS failed: its key is none of `pins`, but {pin}"))


def _pin(connection: Connection) -> str:
    """The pin of the host's key, or why it has none."""
    certificate = None if connection.over_tls is None else connection.over_tls.getpeercert(binary_form=True)
    try:
        return pin_of(certificate or b"")
    except ValueError as error:
        return f"unknown ({reason_of(error)})"
