"""Keys that sign: from PEM, chosen by the author's domain (RFC 6376, 3.3; RFC 8301; RFC 8463). Pure."""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

LEAST_RSA_BITS = 2048
"""RFC 8301, 3.2 demands 1 024 and asks for 2 048."""
MOST_RSA_BITS = 4096
"""Verifiers need not know longer ones (RFC 8301, 3.2)."""

PrivateKey = RSAPrivateKey | Ed25519PrivateKey

_PADDING = PKCS1v15()
_DIGEST = Prehashed(SHA256())


class SigningKey(NamedTuple):
    """A private key, and the name under which verifiers find the public one."""

    domain: str
    """In lower case with A-labels: the tag `d=`."""
    selector: str
    """The tag `s=`."""
    private: PrivateKey

    @property
    def algorithm(self) -> str:
        """The tag `a=`."""
        return "rsa-sha256" if isinstance(self.private, RSAPrivateKey) else "ed25519-sha256"

    def sign(self, digest: bytes) -> bytes:
        """The signature of a SHA-256 `digest`. Ed25519 signs the digest, not what it is of (RFC 8463, 3)."""
        if isinstance(self.private, RSAPrivateKey):
            return self.private.sign(digest, _PADDING, _DIGEST)
        return self.private.sign(digest)


class KeyRing:
    """The keys of all domains."""

    def __init__(self, keys: Iterable[SigningKey], default_domain: str = "") -> None:
        self._keys: dict[str, tuple[SigningKey, ...]] = {}
        for key in keys:
            self._keys[key.domain] = (*self._keys.get(key.domain, ()), key)
        self._default = self._keys.get(default_domain, ())

    def keys_for(self, domain: str) -> tuple[SigningKey, ...]:
        """The keys that sign for an author at `domain`: its own, else the nearest parent's, else the default ones."""
        while domain:
            if (found := self._keys.get(domain)) is not None:
                return found
            domain = domain.partition(".")[2]
        return self._default


def private_key(pem: bytes) -> PrivateKey:
    """The key in `pem`. ValueError says why there is none that can sign.

    A trial replaces the check of the primes, which takes 26 ms of a processor for each key: a thousand would take
    half a minute.
    """
    try:
        key = load_pem_private_key(pem, None, unsafe_skip_rsa_key_validation=True)
    except TypeError as error:
        raise ValueError("the key has a passphrase: use one without") from error
    except Exception as error:  # UnsupportedAlgorithm is no ValueError
        # What the library says is about its own uses, with a link to its pages.
        raise ValueError("it is no private key in PEM") from error
    if isinstance(key, RSAPrivateKey):
        if not LEAST_RSA_BITS <= key.key_size <= MOST_RSA_BITS:
            raise ValueError(f"RSA keys have {LEAST_RSA_BITS} to {MOST_RSA_BITS} bits, this one has {key.key_size}")
        _try(key)
        return key
    if isinstance(key, Ed25519PrivateKey):
        return key
    raise ValueError("it is neither an RSA nor an Ed25519 key")


def public_bytes(key: PrivateKey) -> bytes:
    """The tag `p=` of its record, decoded: SubjectPublicKeyInfo for RSA, 32 bytes for Ed25519 (RFC 8463, 4)."""
    public = key.public_key()
    if isinstance(key, RSAPrivateKey):
        return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return public.public_bytes(Encoding.Raw, PublicFormat.Raw)


def _try(key: RSAPrivateKey) -> None:
    """ValueError when its parts do not fit together: then no signature of it verifies."""
    digest = hashlib.sha256(b"Jetpost").digest()
    try:
        key.public_key().verify(key.sign(digest, _PADDING, _DIGEST), digest, _PADDING, _DIGEST)
    except (InvalidSignature, ValueError) as error:
        raise ValueError("the parts of the RSA key do not fit together") from error
