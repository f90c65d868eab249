"""TLS as a client, the same on every version of Python."""

import ssl
from pathlib import Path


def verifying(ca: Path | None = None) -> ssl.SSLContext:
    """A context that verifies the server's certificate and name with the CAs in `ca`, or with those of the system.

    Without VERIFY_X509_STRICT, a default since Python 3.13: it refuses a CA without the extensions that RFC 5280
    (4.2.1.1, 4.2.1.3) asks of it. The CAs of many Kubernetes clusters and companies have none, and verify all the same.

    OSError (also ssl.SSLError): the file is not there, or has no certificate.
    """
    context = ssl.create_default_context(cafile=ca)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
