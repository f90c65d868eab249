"""Passwords, certificates and keys for a first installation, as the data of Kubernetes Secrets."""

import ipaddress
import secrets
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from jetpost.process.dkim.generate import generated, pem
from jetpost.sign.key_file import Notes, file_name, with_notes
from jetpost.sign.record import zone_line

_LIFETIME = timedelta(days=3650)
_CLOCKS_DIFFER = timedelta(hours=1)
_PASSWORD_BYTES = 24

Data = dict[str, bytes]


def login() -> Data:
    """User and passwords of the nats-servers: letters and digits, as nats.conf and URLs take them."""
    return {
        "user": b"jetpost",
        "password": secrets.token_hex(_PASSWORD_BYTES).encode(),
        "route-password": secrets.token_hex(_PASSWORD_BYTES).encode(),
    }


def authority_and_certificate(name: str, dns_names: Sequence[str]) -> Data:
    """A certificate for these names and 127.0.0.1, and the CA that signed it, whose key nobody keeps."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = _name(name)
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    authority = (
        _builder(issuer, issuer, authority_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    certificate = (
        _for_servers(_builder(_name(dns_names[0]), issuer, key), dns_names)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    return {"ca.crt": _pem(authority), "tls.crt": _pem(certificate), "tls.key": _private(key)}


def dkim_key(domain: str, selector: str, kind: str, replaces: Iterable[str]) -> Data:
    """A key that signs, in a file called after its record, and that record as a line of a zone file."""
    key = generated(kind)
    file = file_name(domain, selector)
    return {
        file: with_notes(pem(key), Notes(frozenset(replaces))),
        f"{file.removesuffix('.pem')}.txt": zone_line(domain, selector, key).encode(),
    }


def self_signed(hostname: str) -> Data:
    """A certificate that nobody trusts, for a first try."""
    key, name = ec.generate_private_key(ec.SECP256R1()), _name(hostname)
    certificate = _for_servers(_builder(name, name, key), [hostname]).sign(key, hashes.SHA256())
    return {"tls.crt": _pem(certificate), "tls.key": _private(key)}


def _name(text: str) -> x509.Name:
    # At most 64 characters (RFC 5280, appendix A.1); the names that count are the alternative ones.
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_DIFFER)
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _for_servers(builder: x509.CertificateBuilder, dns_names: Sequence[str]) -> x509.CertificateBuilder:
    """Of a nats-server and, towards its peers, of a client."""
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in dns_names]
    loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return (
        builder.add_extension(x509.SubjectAlternativeName([*names, loopback]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
