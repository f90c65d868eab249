"""New keys, for commands and for the chart's Job."""

from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from jetpost.sign.keys import LEAST_RSA_BITS, PrivateKey


def generated(kind: str, bits: int = LEAST_RSA_BITS) -> PrivateKey:
    """A new key; `kind` is `rsa` or `ed25519`, and `bits` count for RSA."""
    return rsa.generate_private_key(65537, bits) if kind == "rsa" else ed25519.Ed25519PrivateKey.generate()


def pem(key: PrivateKey) -> bytes:
    """A key as its file has it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
