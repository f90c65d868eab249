"""What is posted for a token: forms, client authentication and JWTs, whose signatures another code verifies."""

import json
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha1, sha256
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from delivery.connect.auth.oauth.request import Request, Unusable, request
from delivery.route.endpoint import Grant, TokenSource
from tests.fixtures.dkim import rsa_pem
from tests.fixtures.issuer import verify

NOW = 1_800_000_000.7
URL = "https://issuer.test/token"
CLIENT = TokenSource(Grant.CLIENT_CREDENTIALS, URL, "public CAs", client_id="app", scope="a b")
USER = TokenSource(Grant.JWT_BEARER, URL, "public CAs", scope="mail", key_file="key", subject="ann@example.org")


def asked(source: TokenSource, **contents: bytes) -> Request:
    return request(source, contents, now=NOW, jti="id-1")


def pem(key: Any, secret: bytes = b"") -> bytes:
    encryption = BestAvailableEncryption(secret) if secret else NoEncryption()
    encoded: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    return encoded


def elliptic(curve: ec.EllipticCurve) -> bytes:
    return pem(ec.generate_private_key(curve))


def certificate_of(key: bytes) -> bytes:
    private: Any = load_pem_private_key(key, None)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "app")])
    now = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, private.public_key(), 5, now, now + timedelta(days=1))
    return builder.sign(private, hashes.SHA256()).public_bytes(Encoding.PEM)


def verified(jwt: str, key: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a JWT that `key` signed."""
    head, claims, signature = (urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in jwt.split("."))
    private: Any = load_pem_private_key(key, None)
    verify(private.public_key(), json.loads(head)["alg"], signature, jwt.rpartition(".")[0].encode())
    return json.loads(head), json.loads(claims)


def test_a_client_secret_is_sent_as_basic_authentication_or_in_the_form() -> None:
    source = CLIENT._replace(client_id="a:b", client_secret_file="secret")
    basic = asked(source, secret=b"p w:%\r\n")
    assert basic.form == {"grant_type": "client_credentials", "scope": "a b"}
    assert basic.headers["Authorization"] == f"Basic {b64encode(b'a%3Ab:p+w%3A%25').decode()}"

    in_form = asked(source._replace(secret_in_body=True), secret=b"p w:%\n")
    assert in_form.form == {**basic.form, "client_id": "a:b", "client_secret": "p w:%"}
    assert "Authorization" not in in_form.headers


def test_a_refresh_token_is_sent_with_or_without_a_secret() -> None:
    source = CLIENT._replace(grant=Grant.REFRESH, scope="", refresh_token_file="refresh")
    public = asked(source, refresh=b"r1\n")
    assert public.form == {"grant_type": "refresh_token", "refresh_token": "r1", "client_id": "app"}
    secret = asked(source._replace(client_secret_file="s", secret_in_body=True), refresh=b"r1", s=b"key")
    assert secret.form == {**public.form, "client_secret": "key"}


RSA, OTHER_RSA = rsa_pem(), rsa_pem(1)
P256, P384 = elliptic(ec.SECP256R1()), elliptic(ec.SECP384R1())


@pytest.mark.parametrize(
    ("key", "algorithm", "used"),
    [(RSA, "", "RS256"), (RSA, "PS256", "PS256"), (P256, "", "ES256"), (P384, "", "ES384"), (P384, "ES384", "ES384")],
)
def test_a_client_assertion_is_signed_as_the_key_can(key: bytes, algorithm: str, used: str) -> None:
    source = CLIENT._replace(key_file="key", certificate_file="certificate", algorithm=algorithm)
    certificate = certificate_of(key)
    made = asked(source, key=key, certificate=certificate)

    header, claims = verified(made.form["client_assertion"], key)
    der = x509.load_pem_x509_certificate(certificate).public_bytes(Encoding.DER)

    def thumbprint(digest: bytes) -> str:
        return urlsafe_b64encode(digest).rstrip(b"=").decode()

    assert header == {
        "alg": used,
        "typ": "JWT",
        "x5t": thumbprint(sha1(der, usedforsecurity=False).digest()),
        "x5t#S256": thumbprint(sha256(der).digest()),
    }
    begins = int(NOW) - 10  # the issuer's clock may be a little slow
    assert claims == {
        "iss": "app",
        "sub": "app",
        "aud": URL,
        "iat": begins,
        "nbf": begins,
        "exp": begins + 300,
        "jti": "id-1",
    }
    assert {name: it for name, it in made.form.items() if name != "client_assertion"} == {
        "grant_type": "client_credentials",
        "scope": "a b",
        "client_id": "app",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    }


def service_account(key: bytes = RSA, **changes: Any) -> bytes:
    """As Google's console gives it."""
    account = {"type": "service_account", "private_key_id": "k1", "client_email": "app@p.iam.gserviceaccount.com"}
    return json.dumps({**account, "private_key": key.decode(), **changes}).encode()


@pytest.mark.parametrize(
    ("key", "changes", "header", "issuer"),
    [
        (service_account(), {}, {"kid": "k1"}, "app@p.iam.gserviceaccount.com"),
        (service_account(), {"issuer": "x", "key_id": "k2"}, {"kid": "k2"}, "x"),
        (RSA, {"issuer": "x"}, {}, "x"),
    ],
)
def test_an_assertion_about_a_user(
    key: bytes, changes: Mapping[str, Any], header: Mapping[str, str], issuer: str
) -> None:
    made = asked(USER._replace(audience="https://aud.test/", **changes), key=key)
    assert (made.form["grant_type"], made.form["scope"]) == ("urn:ietf:params:oauth:grant-type:jwt-bearer", "mail")
    said, claims = verified(made.form["assertion"], RSA)
    assert said == {"alg": "RS256", "typ": "JWT", **header}
    assert (claims["iss"], claims["sub"], claims["scope"]) == (issuer, "ann@example.org", "mail")
    assert claims["aud"] == "https://aud.test/"


@pytest.mark.parametrize(
    ("source", "contents", "why"),
    [
        (CLIENT._replace(client_secret_file="s"), {"s": b""}, "cannot use s: it is empty"),
        (CLIENT._replace(client_secret_file="s"), {"s": b"\r\n"}, "cannot use s: it is empty"),
        (CLIENT._replace(client_secret_file="s"), {"s": b"a\nb"}, "cannot use s: it has control characters"),
        (CLIENT._replace(client_secret_file="s"), {"s": b"\xff"}, "cannot use s: it is no text"),
        (CLIENT._replace(key_file="key"), {"key": b""}, "cannot use key: it has no private key in PEM"),
        (CLIENT._replace(key_file="key"), {"key": b"{}"}, "it is JSON, but no key of a service account"),
        (CLIENT._replace(key_file="key"), {"key": b"{" * 9999}, "it is JSON, but no key of a service account"),
        (CLIENT._replace(key_file="key"), {"key": service_account(private_key=5)}, "but no key of a service account"),
        (
            CLIENT._replace(key_file="key"),
            {"key": pem(load_pem_private_key(RSA, None), b"x")},
            "cannot use key: the key has a passphrase",
        ),
        (
            CLIENT._replace(key_file="key"),
            {"key": pem(ed25519.Ed25519PrivateKey.generate())},
            "the key is neither RSA nor of an elliptic curve",
        ),
        (
            CLIENT._replace(key_file="key"),
            {"key": rsa_pem(bits=1024)},
            "an RSA key has at least 2048 bits, and this one",
        ),
        (CLIENT._replace(key_file="key", algorithm="PS256"), {"key": P256}, "the key cannot sign with PS256"),
        (CLIENT._replace(key_file="key", algorithm="ES256"), {"key": P384}, "the key cannot sign with ES256"),
        (CLIENT._replace(key_file="key", algorithm="ES256"), {"key": RSA}, "the key cannot sign with ES256"),
        (CLIENT._replace(key_file="key"), {"key": elliptic(ec.SECP521R1())}, "the key cannot sign with"),
        (CLIENT._replace(key_file="key", certificate_file="c"), {"key": RSA, "c": b"x"}, "cannot use c: it has no"),
        (
            CLIENT._replace(key_file="key", certificate_file="c"),
            {"key": RSA, "c": certificate_of(OTHER_RSA)},
            "cannot use c: the certificate is not of the key",
        ),
        (USER, {"key": RSA}, "cannot use key: it does not say who issues assertions; set `client_id`"),
    ],
)
def test_a_file_that_is_of_no_use_is_named(source: TokenSource, contents: dict[str, bytes], why: str) -> None:
    with pytest.raises(Unusable) as told:
        asked(source, **contents)
    assert why in str(told.value)
    assert "PRIVATE" not in str(told.value)


def test_no_secret_is_shown_by_a_repr() -> None:
    made = asked(CLIENT._replace(client_secret_file="s", secret_in_body=True), s=b"hunter2")
    assert "hunter2" not in repr(made)
    assert made.secrets[0] == "hunter2"
