"""TLS contexts of outgoing connections, by what verifies the host and by what we show it."""

import asyncio
import ssl
import threading
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from delivery.security.requirement import PUBLIC_CAS, ClientCertificate
from jetpost.client_tls import verifying
from jetpost.process.tls import tell_expiry
from jetpost.reason import reason_of
from jetpost.telemetry.log import logger
from jetpost.watched import Stamps, stamps_of

_Key = tuple[str, ClientCertificate | None]


class Loaded(NamedTuple):
    """A context, and what the files looked like that it was made of."""

    context: ssl.SSLContext
    files: Stamps


def _unverifying() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


_unverified = Loaded(_unverifying(), ())
_kept: dict[_Key, Loaded] = {}
"""By what the configuration names, and so bounded by it."""
_refused: dict[_Key, tuple[Stamps, str]] = {}
"""The state of the files that was told to be of no use, and why."""
_making = threading.Lock()

log = logger(__name__)


def stamps(verified: str, client: ClientCertificate | None = None) -> Stamps:
    """What the files look like now; empty where there are none."""
    if client is None and verified in {"", PUBLIC_CAS}:
        return ()
    ca_file = () if verified in {"", PUBLIC_CAS} else (verified,)
    return stamps_of((*ca_file, *(client or ())))


async def loaded(verified: str, client: ClientCertificate | None, timeout_s: float) -> Loaded:
    """As `context_for`, and files are read off the event loop. TimeoutError, an OSError, when that takes too long."""
    if (known := _known(verified, client)) is not None:
        return known
    async with asyncio.timeout(timeout_s):
        return await asyncio.to_thread(_current, verified, client)


def context_for(verified: str, client: ClientCertificate | None = None) -> ssl.SSLContext:
    """The context that verifies hosts with `verified`: nothing, PUBLIC_CAS or a CA file. `client` is what it shows.

    Files are read again when they change. OSError (also ssl.SSLError) when they were never of use; afterwards what they
    had last counts.
    """
    return _current(verified, client).context


def fault(verified: str, client: ClientCertificate | None = None) -> str:
    """Why no context can be made of these files now; empty: one can. It reads them."""
    try:
        _made(verified, client)
    except OSError as error:
        return reason_of(error)
    return ""


def _known(verified: str, client: ClientCertificate | None) -> Loaded | None:
    if not verified and client is None:
        return _unverified
    known = _kept.get((verified, client))
    return known if known is not None and known.files == stamps(verified, client) else None


def _current(verified: str, client: ClientCertificate | None) -> Loaded:
    with _making:
        if (known := _known(verified, client)) is not None:
            return known
        now, kept = stamps(verified, client), _kept.get((verified, client))
        try:
            context = _made(verified, client)
        except OSError as error:
            if kept is None:
                raise
            told, _refused[verified, client] = _refused.get((verified, client)), (now, reason_of(error))
            if told != _refused[verified, client]:
                log.warning(
                    "cannot use renewed CA file or client certificate, keeping previous",
                    files=[file for file in (verified, *(client or ())) if file],
                    error=reason_of(error),
                    limited_by=(verified, client),
                )
            return kept
        _refused.pop((verified, client), None)
        if client is not None:
            with suppress(OSError, ValueError):  # a metric is no reason to stop mail
                tell_expiry(Path(client.certificate_file))
        found = _kept[verified, client] = Loaded(context, now)
        return found


def _made(verified: str, client: ClientCertificate | None) -> ssl.SSLContext:
    context = _verifying(verified) if verified else _unverifying()
    if client is not None:
        try:
            context.load_cert_chain(client.certificate_file, client.key_file, password=_no_password)
        except (OSError, ValueError) as error:
            raise OSError(_why_not(client, error)) from error
    return context


def _verifying(verified: str) -> ssl.SSLContext:
    if verified == PUBLIC_CAS:
        return verifying()
    try:
        context = verifying(Path(verified))
        has_some = bool(context.cert_store_stats()["x509"])
    except ssl.SSLError:
        has_some = False
    except OSError as error:
        raise OSError(f"cannot use {verified}: {reason_of(error)}") from error
    if not has_some:
        raise OSError(f"cannot use {verified}: it has no certificate (PEM)")
    return context


def _why_not(client: ClientCertificate, error: Exception) -> str:
    why = reason_of(error)
    if isinstance(error, ssl.SSLError):
        is_other = error.reason == "KEY_VALUES_MISMATCH"
        why = "the key is of another certificate" if is_other else "one of them has no certificate or no key (PEM)"
    return f"cannot use {client.certificate_file} with the key in {client.key_file}: {why}"


def _no_password() -> str:
    """Called for a key that is encrypted: OpenSSL would ask for its password at the terminal."""
    raise OSError("the key is encrypted; it must have no password")
