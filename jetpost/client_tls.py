"""TLS as a client, the same on every version of Python."""

import ssl
from pathlib import Path

_UNKNOWN_ISSUER = frozenset({2, 18, 19, 20, 21})
"""OpenSSL's X509_V_ERR_*: no trusted CA signed it."""
_OTHER_NAME = frozenset({62, 64})
"""X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH."""
_MOST_NAMES = 4
_LONGEST_NAME = 80


def verifying(ca: Path | None = None) -> ssl.SSLContext:
    """A context that verifies the server's certificate and name with the CAs in `ca`, or with those of the system.

    Without VERIFY_X509_STRICT, a default since Python 3.13: it refuses a CA without the extensions that RFC 5280
    (4.2.1.1, 4.2.1.3) asks of it. The CAs of many Kubernetes clusters and companies have none, and verify all the same.

    OSError (also ssl.SSLError): the file is not there, or has no certificate.
    """
    context = ssl.create_default_context(cafile=ca)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def why_tls_failed(error: OSError, over: ssl.SSLObject | None = None) -> str:
    """What OpenSSL says, without places in its source. Of a certificate that does not verify: why it does not.

    `over` is what the handshake was made with: the names in the certificate are read from it.
    """
    if not isinstance(error, ssl.SSLCertVerificationError):
        reason = getattr(error, "reason", None)
        return str(reason or error or type(error).__name__)
    why = f"CERTIFICATE_VERIFY_FAILED: {error.verify_message.rstrip('.')}"
    if error.verify_code in _OTHER_NAME and (names := _names(over)):
        why += f", but for {names}"
    return why + ca_hint(error)


def ca_hint(error: BaseException) -> str:
    """What to set when no trusted CA signed a certificate; empty for other failures."""
    unknown = isinstance(error, ssl.SSLCertVerificationError) and error.verify_code in _UNKNOWN_ISSUER
    return "; if you trust its CA, set `ca_file`" if unknown else ""


def _names(over: ssl.SSLObject | None) -> str:
    """The names in the certificate of who failed: a few, each cut, and none when it cannot be read.

    `getpeercert` refuses until the handshake is done, and a public way to the chain came with Python 3.13.
    """
    try:
        info = getattr(over, "_sslobj").get_unverified_chain()[0].get_info()  # noqa: B009 — ssl has no type for it
        return _listed([str(value) for kind, value in info.get("subjectAltName", ()) if kind in {"DNS", "IP Address"}])
    except Exception:  # whatever stands in a certificate that anybody could have made
        return ""


def _listed(names: list[str]) -> str:
    cut = ["".join(it if it.isprintable() else "?" for it in name[:_LONGEST_NAME]) for name in names[:_MOST_NAMES]]
    return ", ".join(cut) + (f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else "")
