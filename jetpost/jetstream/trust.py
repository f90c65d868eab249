"""TLS towards the nats-servers, whose CA may be replaced while a process runs.

A new CA reaches files and servers one after the other, in any order. So a process trusts the CA that it started with
and the one that its file has now. The files are read again for each connection.
"""

import functools
import re
import ssl
from pathlib import Path
from typing import Any, Self

from jetpost.client_tls import verifying
from jetpost.reason import reason_of
from jetpost.telemetry.log import logger
from jetpost.watched import Stamp, stamp

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?", re.DOTALL)
_Stamps = tuple[Stamp | None, ...]

log = logger(__name__)


class FollowingContext(ssl.SSLContext):
    """A client context whose CA and client certificate follow their files. The OS's CAs where no CA is named.

    Every handshake takes the files as they are then. Files that cannot be used change nothing: what was read before
    stays, and the reason is logged.
    """

    _files: tuple[Path | None, Path | None, Path | None]
    _seen: _Stamps
    _current: ssl.SSLContext
    _first: str

    def __new__(cls, *_: object) -> Self:
        """As a context for clients."""
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def __init__(self, ca: Path | None, certificate: Path | None, key: Path | None) -> None:
        """From PEM files. OSError, ssl.SSLError or ValueError: they cannot be used."""
        self._files = ca, certificate, key
        self._seen = self._stamps()
        self._first = ""
        self._refused: object = None
        """The state of the files that was told to be of no use, and why."""
        self._current = self._read()
        if ca is not None:
            self._first = b"".join(_CERTIFICATE.findall(ca.read_bytes())).decode("ascii")

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        """As the standard library's, for a connection that begins now."""
        return self._now().wrap_bio(*arguments, **options)

    def wrap_socket(self, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        """As the standard library's, for a connection that begins now."""
        return self._now().wrap_socket(*arguments, **options)

    def _now(self) -> ssl.SSLContext:
        stamps = self._stamps()
        if stamps != self._seen:
            try:
                self._current, self._seen, self._refused = self._read(), stamps, None
            except (OSError, ValueError) as error:
                why = reason_of(error)
                if self._refused != (stamps, why):
                    log.warning("cannot use renewed NATS TLS files, keeping previous", error=why)
                self._refused = stamps, why
        return self._current

    def _read(self) -> ssl.SSLContext:
        ca, certificate, key = self._files
        context = verifying(ca)
        if self._first:
            context.load_verify_locations(cadata=self._first)
        if certificate is not None:
            context.load_cert_chain(certificate, key)
        return context

    def _stamps(self) -> _Stamps:
        return tuple(None if file is None else stamp(file) for file in self._files)


@functools.cache
def following(ca: Path | None, certificate: Path | None, key: Path | None) -> FollowingContext:
    """The context of these files: one in a process, so that all of it trusts what it started with."""
    return FollowingContext(ca, certificate, key)
