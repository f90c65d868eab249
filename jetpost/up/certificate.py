"""A self-signed certificate, for a first try and for tests; never for the public."""

import os
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFETIME = timedelta(days=825)
_CLOCKS_DIFFER = timedelta(hours=1)


def self_signed(hostname: str, certificate: Path, key: Path, now: datetime | None = None) -> None:
    """Write a certificate for `hostname`, localhost and loopback, and its key, readable by its owner only."""
    now = now or datetime.now(UTC)
    private = ec.generate_private_key(ec.SECP256R1())
    # The common name is limited to 64 characters (RFC 5280, appendix A.1); the names that count are below.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname[:64])])
    identifier = x509.SubjectKeyIdentifier.from_public_key(private.public_key())
    addresses = [x509.IPAddress(ip_address(address)) for address in ("127.0.0.1", "::1")]
    names = [x509.DNSName(name) for name in dict.fromkeys((hostname, "localhost"))]
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_DIFFER)
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectAlternativeName([*names, *addresses]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier(identifier.digest, None, None), critical=False)
        .sign(private, hashes.SHA256())
    )
    _write(
        key,
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        mode=0o600,
    )
    _write(certificate, signed.public_bytes(serialization.Encoding.PEM), mode=0o644)


def _write(path: Path, data: bytes, *, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(data)
