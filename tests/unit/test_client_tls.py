"""Which servers are trusted: the same on every version of Python."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from jetpost.client_tls import verifying

NAME = "kubernetes.test"


def signed(
    subject: str, key: ec.EllipticCurvePrivateKey, issuer: str, by: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    """A certificate with no more than verification needs: no key identifiers, no key usage, nothing critical."""
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=subject == issuer, path_length=None), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(subject)]), critical=False)
    )
    return builder.sign(by, hashes.SHA256())


@pytest.fixture
def server(tmp_path: Path) -> ssl.SSLContext:
    """Has a certificate of such a CA, which is in `ca.pem`."""
    authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    pem = serialization.Encoding.PEM
    (tmp_path / "ca.pem").write_bytes(signed("ca", authority, "ca", authority).public_bytes(pem))
    (tmp_path / "server.pem").write_bytes(
        signed(NAME, key, "ca", authority).public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    return context


def shaken(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> None:
    """A handshake in memory."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(back, there, server_hostname=name)
    theirs = server.wrap_bio(there, back, server_side=True)
    waiting = [ours, theirs]
    while waiting:
        for side in list(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(side)


def test_a_ca_without_extensions_is_trusted(server: ssl.SSLContext, tmp_path: Path) -> None:
    shaken(server, verifying(tmp_path / "ca.pem"), NAME)


@pytest.mark.parametrize(("ca", "name"), [("ca.pem", "other.test"), (None, NAME)])
def test_another_name_and_another_ca_are_not(server: ssl.SSLContext, tmp_path: Path, ca: str | None, name: str) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        shaken(server, verifying(tmp_path / ca if ca else None), name)
