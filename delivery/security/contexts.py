"""TLS contexts of outgoing connections, by what verifies the host."""

import ssl
from pathlib import Path

from delivery.security.requirement import PUBLIC_CAS
from jetpost.client_tls import verifying
from jetpost.reason import reason_of
from jetpost.telemetry.log import logger
from jetpost.watched import Stamp, stamp

_unverified = ssl.create_default_context()
_unverified.check_hostname = False
_unverified.verify_mode = ssl.CERT_NONE
_kept: dict[str, tuple[Stamp | None, ssl.SSLContext]] = {}
"""By what the configuration names, and so bounded by it."""

log = logger(__name__)


def context_for(verified: str) -> ssl.SSLContext:
    """The context that verifies hosts with `verified`: nothing, PUBLIC_CAS or a CA file, read again when it changes.

    OSError (also ssl.SSLError) when the file was never of use; afterwards what it had last counts.
    """
    if not verified:
        return _unverified
    file = None if verified == PUBLIC_CAS else Path(verified)
    now, kept = stamp(file) if file else None, _kept.get(verified)
    if kept is not None and kept[0] == now:
        return kept[1]
    try:
        context = verifying(file)
    except OSError as error:
        if kept is None:
            raise
        why = reason_of(error)
        log.warning("cannot use renewed CA file, keeping previous", file=verified, error=why, limited_by=(verified,))
        return kept[1]
    _kept[verified] = now, context
    return context
