"""Server side TLS, with certificates that may be renewed while the process runs."""

import asyncio
import ssl
from pathlib import Path
from typing import Annotated, NoReturn, Self

from cryptography import x509
from prometheus_client import Gauge
from pydantic import Field, model_validator

from jetpost.config.section import ReadableFile, SecretFile, Section
from jetpost.reason import reason_of
from jetpost.telemetry.log import logger
from jetpost.watched import Stamp, stamp

EXPIRES = Gauge(
    "jetpost_tls_certificate_expires_timestamp_seconds",
    "When the certificate that is shown expires (Unix time). Labels: `file`.",
    ["file"],
)

log = logger(__name__)


class Tls(Section):
    """A certificate and its key."""

    certificate: ReadableFile
    """The certificate chain (PEM), the server's own first."""
    key: SecretFile
    """The private key (PEM), without a passphrase."""
    reload_s: Annotated[float, Field(gt=0)] = 10
    """How often the files are looked at; renewed ones are taken without a restart."""

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        try:
            server_context(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            raise ValueError(
                f"{self.certificate} and {self.key} cannot be used together: {reason_of(error)}"
            ) from error
        return self


class Reloading:
    """A server context whose certificate follows its files."""

    def __init__(self, settings: Tls) -> None:
        self.context = server_context(settings.certificate, settings.key)
        self._settings = settings
        self._seen = self._state()
        self._refused: object = None
        """The state of the files that was told to be of no use, and why."""
        tell_expiry(settings.certificate)

    async def run(self) -> None:
        """Look at the files for ever."""
        while True:
            await asyncio.sleep(self._settings.reload_s)
            self.refresh()

    def refresh(self) -> bool:
        """Take renewed files for the handshakes to come; True when there were any. Unusable ones are logged."""
        state = self._state()
        if state == self._seen:
            return False
        try:
            # On trial first: half a renewal must not leave the living context with a key that does not fit.
            server_context(self._settings.certificate, self._settings.key)
            self.context.load_cert_chain(self._settings.certificate, self._settings.key, _no_passphrase)
        except (OSError, ssl.SSLError) as error:
            why = reason_of(error)
            if self._refused != (state, why):
                file = str(self._settings.certificate)
                log.warning("cannot use renewed certificate, keeping previous", file=file, error=why)
            self._refused = state, why
            return False
        self._seen, self._refused = state, None
        tell_expiry(self._settings.certificate)
        log.info("certificate renewed", file=str(self._settings.certificate))
        return True

    def _state(self) -> tuple[Stamp | None, ...]:
        return stamp(self._settings.certificate), stamp(self._settings.key)


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """A context for servers: TLS 1.2 or newer (RFC 8996). OSError or ssl.SSLError when the files are of no use."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # else one connection could have handshakes without end
    context.load_cert_chain(certificate, key, _no_passphrase)
    return context


def _no_passphrase() -> NoReturn:
    raise ssl.SSLError("the key has a passphrase: use one without")


def tell_expiry(certificate: Path) -> None:
    """Set the metric from a file with certificates, our own first. OSError or ValueError when it has none."""
    leaf = x509.load_pem_x509_certificates(certificate.read_bytes())[0]
    EXPIRES.labels(str(certificate)).set(leaf.not_valid_after_utc.timestamp())
