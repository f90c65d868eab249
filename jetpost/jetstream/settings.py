"""How NATS is reached: the section `nats` of the configuration."""

import ssl
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, SecretStr, model_validator

from jetpost.config.section import Secret, SecretFile, Section
from jetpost.jetstream.trust import following
from jetpost.reason import reason_of


class Nats(Section):
    """How to reach NATS."""

    servers: tuple[str, ...] = ("nats://127.0.0.1:4222",)
    """URLs of the servers, `nats://host:port` or `tls://host:port`."""
    monitoring: tuple[str, ...] = ()
    """Monitoring URLs of the servers, `https://host:8222` (with the files below) or `http://…`; whether they fsync
    before they answer is asked there."""
    user: str = ""
    """User name; empty for none."""
    password: SecretStr = SecretStr("")
    """Password of `user`."""
    credentials_file: SecretFile | None = None
    """A NATS credentials file (JWT and seed)."""
    ca_file: Path | None = None
    """CA certificates (PEM) that must have signed the servers' certificates. The file is read again for each
    connection. What it had when the process started counts as well, until the process ends."""
    certificate_file: Path | None = None
    """Our client certificate (PEM), with `key_file`. A renewed one counts from the next connection on."""
    key_file: Annotated[Path, Secret()] | None = None
    """Key of `certificate_file` (PEM)."""
    request_timeout_s: Annotated[float, Field(gt=0)] = 5
    """How long one question to JetStream may take."""

    @model_validator(mode="after")
    def _files_are_readable(self) -> Self:
        self.tls_context()
        return self

    def tls_context(self) -> ssl.SSLContext | None:
        """The TLS context for the servers, or None when no TLS file is named. ValueError: a file cannot be used.

        It trusts the CA that this process started with, and the one that the file has when a connection is made.
        """
        if self.ca_file is None and self.certificate_file is None:
            return None
        try:
            return following(self.ca_file, self.certificate_file, self.key_file)
        except OSError as error:
            raise ValueError(f"cannot use the TLS files of nats: {reason_of(error)}") from error
