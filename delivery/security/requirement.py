"""What TLS a hop must have. Pure."""

from enum import StrEnum
from typing import NamedTuple

PUBLIC_CAS = "public CAs"
"""What verifies a host's certificate when no file is named: the CAs of the system."""


class ClientCertificate(NamedTuple):
    """What we show a host that asks for a certificate: the paths of PEM files."""

    certificate_file: str
    key_file: str


class TlsMode(StrEnum):
    """What the operator asks of outgoing connections."""

    OPPORTUNISTIC = "opportunistic"
    REQUIRED = "required"
    NONE = "none"


class Hop(StrEnum):
    """What to do about TLS on a connection."""

    START = "start"
    """Offered and wanted: STARTTLS."""
    PLAIN = "plain"
    """Go on without."""
    REFUSE = "refuse"
    """Not offered, but required: no mail over this connection."""


def judge(mode: TlsMode, *, offered: bool, failed_before: bool) -> Hop:
    """What to do on a connection whose host offers STARTTLS or not.

    `failed_before`: TLS with this host has failed in this attempt. Opportunistic TLS then goes on without: it never
    makes delivery worse than plain SMTP would be (RFC 7435, 3).
    """
    if mode is TlsMode.NONE:
        return Hop.PLAIN
    if offered and not (failed_before and mode is TlsMode.OPPORTUNISTIC):
        return Hop.START
    return Hop.REFUSE if mode is TlsMode.REQUIRED else Hop.PLAIN
