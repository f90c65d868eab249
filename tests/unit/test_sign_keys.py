"""Keys that sign: which files are keys, and which key signs for whom."""

import base64
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from jetpost.sign.keys import KeyRing, SigningKey, private_key, public_bytes
from tests.fixtures.dkim import ed25519_pem, rsa_pem, signing_keys


def of_rsa(bits: int) -> bytes:
    return rsa_pem(bits=bits)


def read(number: int = 0) -> rsa.RSAPrivateKey:
    key = load_pem_private_key(rsa_pem(number), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def with_passphrase() -> bytes:
    return read().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))


def of_another_kind() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def the_public_half() -> bytes:
    return read().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def of_two_halves() -> bytes:
    """The primes of one key with the exponents of another."""
    one, other = (read(number).private_numbers() for number in range(2))
    mixed = rsa.RSAPrivateNumbers(one.p, one.q, other.d, other.dmp1, other.dmq1, one.iqmp, one.public_numbers)
    key = mixed.private_key(unsafe_skip_rsa_key_validation=True)
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


@pytest.mark.parametrize(
    ("pem", "why"),
    [
        (lambda: b"", "no private key in PEM"),
        (lambda: b"nonsense", "no private key in PEM"),
        (lambda: rsa_pem()[:500], "no private key in PEM"),
        (lambda: base64.b64encode(b"x" * 32), "no private key in PEM"),  # as dkimpy keeps an Ed25519 key
        (the_public_half, "no private key in PEM"),
        (with_passphrase, "passphrase"),
        (of_another_kind, "neither an RSA nor an Ed25519 key"),
        (lambda: of_rsa(1024), "2048 to 4096 bits, this one has 1024"),
        (of_two_halves, "do not fit together"),
    ],
)
def test_what_is_no_key_says_why(pem: Callable[[], bytes], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        private_key(pem())


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_both_forms_of_an_rsa_key_are_read(form: PrivateFormat) -> None:
    assert public_bytes(private_key(read().private_bytes(Encoding.PEM, form, NoEncryption()))) == public_bytes(
        private_key(rsa_pem())
    )


def test_an_ed25519_key_is_published_as_its_32_bytes() -> None:
    secret = base64.b64decode("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")  # RFC 8463, A.1
    key = Ed25519PrivateKey.from_private_bytes(secret)

    assert base64.b64encode(public_bytes(key)) == b"11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="


@pytest.mark.parametrize(
    ("author", "signer"),
    [
        ("example.org", "example.org"),
        ("news.example.org", "news.example.org"),
        ("a.b.news.example.org", "news.example.org"),
        ("www.example.org", "example.org"),
        ("badexample.org", "example.net"),
        ("org", "example.net"),
        ("", "example.net"),
    ],
)
def test_the_key_is_chosen_by_the_authors_domain(author: str, signer: str) -> None:
    keys = [key for domain in ("example.org", "news.example.org", "example.net") for key in signing_keys(domain)]

    assert {key.domain for key in KeyRing(keys, "example.net").keys_for(author)} == {signer}
    without_default = KeyRing(keys).keys_for(author)
    assert {key.domain for key in without_default} == ({signer} - {"example.net"})


def test_all_keys_of_a_domain_sign() -> None:
    keys = (*signing_keys(), SigningKey("example.org", "new", private_key(ed25519_pem(1))))

    assert KeyRing(keys).keys_for("example.org") == keys
