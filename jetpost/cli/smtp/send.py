"""`jetpost send`: submit a message like a mail client."""

import asyncio
import ssl
import sys
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import formatdate, make_msgid
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import aiosmtplib
import typer

from jetpost.client_tls import verifying
from jetpost.mail.address import path
from jetpost.reason import reason_of

_TIMEOUT_S = 60
_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST"})
"""What OpenSSL says to bytes that are no TLS."""


class Tls(StrEnum):
    """How the connection is protected."""

    STARTTLS = "starttls"
    IMPLICIT = "implicit"
    NONE = "none"


def send(  # noqa: PLR0913, PLR0917 — the options of a command
    to: Annotated[list[str], typer.Option("--to", metavar="ADDRESS", help="A recipient; may be given again.")],
    sender: Annotated[str, typer.Option("--from", metavar="ADDRESS", help="The sender.")],
    server: Annotated[str, typer.Option(metavar="HOST:PORT", help="The submission service.")] = "127.0.0.1:2465",
    tls: Annotated[Tls, typer.Option(help="How the connection is protected.")] = Tls.IMPLICIT,
    ca: Annotated[Path | None, typer.Option(metavar="FILE", help="Certificates (PEM) to trust.")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Do not check the server's certificate.")] = False,
    user: Annotated[str, typer.Option(help="The user to authenticate as.")] = "",
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin.")] = False,
    subject: Annotated[str, typer.Option(help="The subject.")] = "Hello from Jetpost",
    body: Annotated[str, typer.Option(help="The text.")] = "It works.",
    file: Annotated[Path | None, typer.Option(metavar="FILE", help="A whole message (.eml) instead.")] = None,
) -> None:
    """Submit a message like a mail client; exit status 0 when it was accepted for every recipient."""
    password = _password(user, from_stdin=password_stdin)
    try:
        content = file.read_bytes() if file is not None else _written(sender, to, subject, body)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"there is no message to send: {reason_of(error)}") from None
    host, _, port = server.rpartition(":")
    if not host or not port.isdecimal():
        raise typer.BadParameter("expected HOST:PORT", param_hint="--server")
    client = aiosmtplib.SMTP(
        hostname=host,
        port=int(port),
        use_tls=tls is Tls.IMPLICIT,
        start_tls=tls is Tls.STARTTLS,
        tls_context=None if tls is Tls.NONE else _context(ca, insecure=insecure),
        timeout=_TIMEOUT_S,
    )
    try:
        said = asyncio.run(_submit(client, sender, to, content, user, password))
    except (aiosmtplib.SMTPException, OSError, ValueError) as error:  # ValueError: an address that is none
        typer.echo(_explained(error, server, tls), err=True)
        raise typer.Exit(1) from None
    typer.echo(said)


async def _submit(client: aiosmtplib.SMTP, sender: str, to: list[str], content: bytes, user: str, password: str) -> str:
    # aiosmtplib leaves it to the version of Python: some send to the part of a text that looks like an address.
    for address in (sender, *to):
        if (found := path(f"<{address}>")) is None or found[1]:
            raise ValueError(f"{address!r} is no address")
    async with client:
        if user:
            await client.login(user, password)
        refused, said = await client.sendmail(sender, to, content, mail_options=_options(sender, to, content))
    if refused:
        raise aiosmtplib.SMTPRecipientsRefused(
            [aiosmtplib.SMTPRecipientRefused(code, text, who) for who, (code, text) in refused.items()]
        )
    return said


def _options(sender: str, to: list[str], content: bytes) -> list[str]:
    """The parameters of MAIL for what is not plain ASCII (RFC 6531, 3.4; RFC 6152)."""
    options = [] if "".join([sender, *to]).isascii() else ["SMTPUTF8"]
    return options if content.isascii() else [*options, "BODY=8BITMIME"]


def _password(user: str, *, from_stdin: bool) -> str:
    if not user:
        return ""
    return sys.stdin.readline().rstrip("\r\n") if from_stdin else str(typer.prompt("Password", hide_input=True))


def _context(ca: Path | None, *, insecure: bool) -> ssl.SSLContext:
    try:
        context = verifying(ca)
    except OSError as error:  # ssl.SSLError is one
        raise typer.BadParameter(f"no certificates in {ca}: {reason_of(error)}", param_hint="--ca") from None
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _written(sender: str, to: list[str], subject: str, body: str) -> bytes:
    message = EmailMessage(SMTP if "".join([sender, *to]).isascii() else SMTPUTF8)
    message["From"], message["To"], message["Subject"] = sender, ", ".join(to), subject
    message["Date"], message["Message-ID"] = formatdate(localtime=True), make_msgid(domain=sender.rpartition("@")[2])
    message.set_content(body)
    return message.as_bytes()


def _explained(error: Exception, server: str, tls: Tls) -> str:
    """What went wrong, in a sentence that says what to do."""
    match error:
        case aiosmtplib.SMTPRecipientsRefused(recipients=recipients):
            return "\n".join(f"{one.recipient} was refused: {one.code} {one.message}" for one in recipients)
        case aiosmtplib.SMTPAuthenticationError(code=code, message=message):
            return f"{server} refused the user or the password: {code} {message}"
        case aiosmtplib.SMTPResponseException(code=code, message=message):
            return f"{server} refused the message: {code} {message}"
        case _:
            pass
    cause = error.__cause__ or error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"the certificate of {server} is not trusted ({cause.verify_message}): name its CA with --ca"
    return f"cannot submit to {server}: {error}{_hint(error, cause, tls)}"


def _hint(error: Exception, cause: BaseException, tls: Tls) -> str:
    """Which `--tls` would probably do."""
    match tls:
        case Tls.IMPLICIT if isinstance(cause, ssl.SSLError) and cause.reason in _NOT_TLS:
            return "\nThe server does not begin with TLS: try --tls starttls or --tls none"
        case Tls.STARTTLS | Tls.NONE if _is_before_greeting(error, cause):
            return "\nThe server sent no greeting: it may begin with TLS, try --tls implicit"
        case Tls.STARTTLS if isinstance(error, aiosmtplib.SMTPException) and "STARTTLS extension not" in error.message:
            return "\nThe server offers no STARTTLS: try --tls implicit on its other port, or --tls none"
        case Tls.NONE if isinstance(error, aiosmtplib.SMTPException) and "AUTH extension is not" in error.message:
            return "\nThe server may offer AUTH only over TLS: try --tls starttls"
        case _:
            return ""


def _is_before_greeting(error: Exception, cause: BaseException) -> bool:
    """Whether the connection was made, and the server then said nothing, or nothing of SMTP."""
    failed = isinstance(error, aiosmtplib.SMTPConnectError | aiosmtplib.SMTPConnectTimeoutError)
    return failed and isinstance(cause, aiosmtplib.SMTPServerDisconnected | aiosmtplib.SMTPTimeoutError)
