"""The pin of a certificate is what openssl computes, and no bytes from a host break anything."""

import subprocess
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from delivery.security.pins import checked_pin, pin_of

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
KEYS: dict[str, Key] = {
    "rsa": rsa.generate_private_key(65537, 2048),
    "ec": ec.generate_private_key(ec.SECP384R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
}


def issued(key: Key, names: int = 1, serial: int = 1) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x" * 64)] * names)
    now = datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(serial).not_valid_before(now).not_valid_after(now + timedelta(hours=1))
    return made.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()).public_bytes(
        Encoding.DER
    )


WHOLE = issued(KEYS["ed25519"])


def expected(key: Key) -> str:
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return b64encode(sha256(spki).digest()).decode()


@given(st.sampled_from(sorted(KEYS)), st.integers(1, 30), st.integers(1, 2**150))
def test_the_pin_is_that_of_the_key(kind: str, names: int, serial: int) -> None:
    assert pin_of(issued(KEYS[kind], names, serial)) == expected(KEYS[kind])


def test_openssl_computes_the_same() -> None:
    command = (
        "openssl x509 -inform der -noout -pubkey | openssl pkey -pubin -outform der"
        " | openssl dgst -sha256 -binary | base64"
    )
    certificate = issued(KEYS["rsa"])
    done = subprocess.run(["sh", "-c", command], input=certificate, capture_output=True, check=True)  # noqa: S603, S607
    assert pin_of(certificate) == done.stdout.decode().strip()


@given(st.data())
def test_no_bytes_raise_anything_but_a_value_error(data: st.DataObject) -> None:
    whole = WHOLE
    cut = data.draw(st.integers(0, len(whole)))
    broken = bytearray(whole[:cut] + data.draw(st.binary(max_size=20)))
    for position in data.draw(st.lists(st.integers(0, max(len(broken) - 1, 0)), max_size=3)):
        if broken:
            broken[position] = data.draw(st.integers(0, 255))
    try:
        assert len(pin_of(bytes(broken))) == 44
    except ValueError:
        return


@pytest.mark.parametrize("text", ["", "x", "A" * 44, "A" * 40, "sha256//" + "A" * 43 + "=", "A" * 42 + "=="])
def test_what_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="SHA-256"):
        checked_pin(text)


def test_a_digest_is_taken() -> None:
    assert checked_pin(f" {expected(KEYS['ec'])}\n") == expected(KEYS["ec"])
