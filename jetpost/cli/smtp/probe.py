"""`jetpost probe`: send a message to ourselves through the whole system, and see it arrive."""

import asyncio
import contextlib
import secrets
import ssl
import time
from email.message import EmailMessage
from pathlib import Path
from typing import Annotated, NamedTuple

import aiosmtplib
import typer
from aiosmtpd.smtp import SMTP, Envelope, Session

from jetpost.client_tls import verifying
from jetpost.reason import reason_of

_PATIENCE_S = 10
_AGAIN_S = 1.0
_KNOWN_S = 20


class _Server(NamedTuple):
    """Where the message is handed in, and how."""

    host: str
    port: int
    name: str
    """What its certificate must be for; empty: without TLS."""
    ca: Path | None


class Mailbox:
    """Takes mail (an aiosmtpd handler), and notices the message with the token in its content."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self.arrived = asyncio.Event()

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802, ARG002 — aiosmtpd's names
        """Take a message."""
        if self._token in (envelope.content or b""):
            self.arrived.set()
        return "250 2.0.0 Ok"


def probe(
    server: Annotated[str, typer.Option(metavar="HOST:PORT", help="A listener that takes mail for the domain.")],
    domain: Annotated[str, typer.Option(help="A domain whose mail comes to this machine.")],
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where it comes to.")] = "0.0.0.0:2525",
    reachable: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Wait for an answer there before sending, 20 s at most.")
    ] = "",
    name: Annotated[
        str, typer.Option(metavar="HOST", help="Use STARTTLS, and insist on a certificate for this name.")
    ] = "",
    ca: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Certificates (PEM) to trust: a CA's, or the server's own.")
    ] = None,
    within: Annotated[float, typer.Option(min=1, help="Seconds it may take.")] = 60,
) -> None:
    """Send a message through the whole system to this command itself; exit status 0 when it arrived in time."""
    way_in = _endpoint(reachable, "--reachable") if reachable else None
    endpoint = _Server(*_endpoint(server, "--server"), name, ca)
    try:
        told = asyncio.run(_round_trip(endpoint, domain, _endpoint(listen, "--listen"), way_in, within))
    except (OSError, TimeoutError, aiosmtplib.SMTPException) as error:
        typer.echo(reason_of(error), err=True)
        raise typer.Exit(1) from None
    typer.echo(told)


async def _round_trip(
    server: _Server, domain: str, listen: tuple[str, int], way_in: tuple[str, int] | None, within_s: float
) -> str:
    token = secrets.token_hex(16)
    mailbox = Mailbox(token)
    loop = asyncio.get_running_loop()
    taking = await loop.create_server(lambda: SMTP(mailbox, hostname=domain, loop=loop), *listen)
    with contextlib.closing(taking):
        if way_in is not None:
            await _reached(way_in)
        began = time.monotonic()
        said = await _submitted(server, domain, token, began + within_s)
        typer.echo(f"accepted after {time.monotonic() - began:.1f} s: {said}")
        try:
            async with asyncio.timeout(began + within_s - time.monotonic()):
                await mailbox.arrived.wait()
        except TimeoutError:
            raise TimeoutError(f"accepted, but not delivered to {domain} within {within_s:g} s") from None
        return f"delivered after {time.monotonic() - began:.1f} s"


async def _reached(endpoint: tuple[str, int]) -> None:
    """Wait until somebody listens at `endpoint`: what is new in a cluster is not known to all of it at once.

    Gives up in silence, for the way back to oneself is not open everywhere.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_KNOWN_S):
            while True:
                try:
                    _, writer = await asyncio.open_connection(*endpoint)
                except OSError:
                    await asyncio.sleep(_AGAIN_S)
                else:
                    writer.close()
                    return


async def _submitted(server: _Server, domain: str, token: str, until: float) -> str:
    """The reply to the final dot. A system that is still starting is asked again."""
    message = EmailMessage()
    message["From"] = message["To"] = f"probe@{domain}"
    message["Subject"] = "Probe"
    message.set_content(token)
    while True:
        try:
            client = aiosmtplib.SMTP(hostname=server.host, port=server.port, start_tls=False, timeout=_PATIENCE_S)
            async with client:
                if server.name:
                    await client.starttls(server_hostname=server.name, tls_context=_trust(server.ca))
                # The null reverse-path: nobody wants to hear that a probe failed but this command.
                _, said = await client.sendmail("", [f"probe@{domain}"], message.as_bytes())
                return said
        except (OSError, aiosmtplib.SMTPException) as error:
            if time.monotonic() + _AGAIN_S > until or _is_final(error):
                raise
        await asyncio.sleep(_AGAIN_S)


def _trust(ca: Path | None) -> ssl.SSLContext:
    """What is in the file is trusted as it is, also a server's own certificate that somebody else has signed."""
    context = verifying(ca)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def _is_final(error: Exception) -> bool:
    if isinstance(error, ssl.SSLCertVerificationError):
        return True
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        return any(each.code >= 500 for each in error.recipients)
    return isinstance(error, aiosmtplib.SMTPResponseException) and error.code >= 500


def _endpoint(text: str, option: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise typer.BadParameter("expected HOST:PORT", param_hint=option)
    return host, int(port)
