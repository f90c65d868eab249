"""Signed JWTs (RFC 7519, 7523): about a client for an issuer, or about a user. Pure."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

LIFE_S = 300
"""Of an assertion. Issuers allow five minutes to an hour."""
_LEAST_RSA_BITS = 2048
"""RFC 7518, 3.3."""
_OF_RSA: tuple[str, ...] = ("RS256", "PS256")
_ON_CURVES: Mapping[str, tuple[str, ...]] = {"secp256r1": ("ES256",), "secp384r1": ("ES384",)}


class SigningKey(NamedTuple):
    """A private key, and what its file says of it."""

    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    issuer: str = ""
    key_id: str = ""

    def __repr__(self) -> str:
        return f"SigningKey(key_id={self.key_id!r})"


def signing_key(text: bytes) -> SigningKey:
    """The key in a PEM file, or in the JSON file of a Google service account. ValueError: there is none."""
    issuer = key_id = ""
    if text.lstrip().startswith(b"{"):
        text, issuer, key_id = _service_account(text)
    try:
        key = load_pem_private_key(text, password=None)
    except TypeError:
        raise ValueError("the key has a passphrase") from None
    except ValueError:
        raise ValueError("it has no private key in PEM") from None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise ValueError("the key is neither RSA nor of an elliptic curve")  # noqa: TRY004 — of a file, not of a call
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < _LEAST_RSA_BITS:
        raise ValueError(f"an RSA key has at least {_LEAST_RSA_BITS} bits, and this one {key.key_size}")
    return SigningKey(key, issuer, key_id)


def _service_account(text: bytes) -> tuple[bytes, str, str]:
    try:
        account = json.loads(text)
        return account["private_key"].encode(), str(account["client_email"]), str(account.get("private_key_id", ""))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError("it is JSON, but no key of a service account") from None


def thumbprints(certificate: bytes, key: SigningKey) -> Mapping[str, str]:
    """The header fields of a JWT that name the certificate in a PEM file (RFC 7515, 4.1.7 and 4.1.8).

    ValueError: there is none, or it is not of `key`.
    """
    try:
        found = x509.load_pem_x509_certificate(certificate)
    except ValueError:
        raise ValueError("it has no certificate in PEM") from None
    if _public(found.public_key()) != _public(key.key.public_key()):
        raise ValueError("the certificate is not of the key")
    # SHA-1 names the certificate here, and protects nothing: Microsoft knows certificates by it.
    return {"x5t": _print(found, SHA1()), "x5t#S256": _print(found, SHA256())}  # noqa: S303


def _public(key: Any) -> bytes:
    encoded: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded


def _print(certificate: x509.Certificate, algorithm: HashAlgorithm) -> str:
    return urlsafe_b64encode(certificate.fingerprint(algorithm)).rstrip(b"=").decode()


def signed(key: SigningKey, algorithm: str, header: Mapping[str, str], claims: Mapping[str, Any]) -> str:
    """The JWT with `claims`. `algorithm` may be empty: what fits the key. ValueError: it does not fit."""
    jwk: ECKey | RSAKey
    if isinstance(key.key, ec.EllipticCurvePrivateKey):
        jwk, able = ECKey.import_key(key.key), _ON_CURVES.get(key.key.curve.name, ())
    else:
        jwk, able = RSAKey.import_key(key.key), _OF_RSA
    chosen = algorithm or next(iter(able), "")
    if chosen not in able:
        raise ValueError(f"the key cannot sign with {chosen or 'an algorithm that issuers know'}")
    named = {"kid": key.key_id} if key.key_id else {}
    return jwt.encode({"alg": chosen, "typ": "JWT", **named, **header}, dict(claims), jwk, algorithms=[chosen])
