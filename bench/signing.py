"""What a message of 100 KB costs with two DKIM signatures: `python -m bench.signing`. Processor time.

The last column is what OpenSSL alone takes: both signatures and the SHA-256 of the body.
"""

import base64
import hashlib
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from jetpost.mail.header import parse
from jetpost.sign.body_hash import BodyHash
from jetpost.sign.dkim import signable, signatures
from jetpost.sign.keys import KeyRing, PrivateKey, SigningKey

_SIZES = {"4 KB": 4_000, "100 KB": 100_000, "1 MB": 1_000_000}
_PIECE = 64 * 1024
"""Bytes that arrive together."""
_REPETITIONS = 200
_HEADER = (
    b"From: Ann <ann@example.org>\r\nTo: bob@example.net\r\nSubject: A message\r\n"
    b"Date: Fri, 27 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@example.org>\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n"
)


def _bodies(size: int) -> dict[str, bytes]:
    chance = random.Random(1)  # noqa: S311 — not a secret
    words = ["".join(chance.choices("etaoinshr", k=chance.randint(1, 9))) for _ in range(500)]
    text = "\r\n".join(" ".join(chance.choices(words, k=12)) for _ in range(size // 60))
    encoded = b"\r\n".join(base64.b64encode(chance.randbytes(57)) for _ in range(size // 70))
    indented = b"\r\n".join(b"    a   column \t  of   text  " for _ in range(size // 26))
    return {"text": text.encode()[:size], "base64": encoded[:size], "runs of spaces": indented[:size]}


def _sign(content: bytes, ring: KeyRing, now: datetime) -> None:
    """As ingress does: the hash is made piece by piece; the header is parsed anyway."""
    body_hash = BodyHash()
    for begin in range(0, len(content), _PIECE):
        body_hash.observe(content[begin : begin + _PIECE])
    signatures(signable(parse(_HEADER), body_hash), (), ring, now)


def _least_us(work: Callable[[], object]) -> float:
    """Of single messages: a machine with other work is undisturbed for that long."""
    least = float("inf")
    for _ in range(_REPETITIONS):
        began = time.process_time()
        work()
        least = min(least, time.process_time() - began)
    return least * 1e6


def _openssl(body: bytes, keys: list[SigningKey]) -> None:
    digest = hashlib.sha256(body).digest()
    for key in keys:
        key.sign(digest)


def main() -> None:
    """Measure and print, in microseconds."""
    rsa, ed25519 = generate_private_key(65537, 2048), Ed25519PrivateKey.generate()
    kinds: dict[str, tuple[PrivateKey, ...]] = {"RSA-2048": (rsa,), "Ed25519": (ed25519,), "both": (rsa, ed25519)}
    keys = {
        name: [SigningKey("example.org", str(number), key) for number, key in enumerate(of_kind)]
        for name, of_kind in kinds.items()
    }
    rings = {name: KeyRing(of_kind) for name, of_kind in keys.items()}
    now = datetime.now(UTC)
    print(f"{'body':<26}" + "".join(f"{name:>12}" for name in [*rings, "OpenSSL"]))
    for size, count in _SIZES.items():
        for kind, body in _bodies(count).items():
            content = _HEADER + b"\r\n" + body
            costs = [_least_us(partial(_sign, content, ring, now)) for ring in rings.values()]
            costs.append(_least_us(partial(_openssl, body, keys["both"])))
            print(f"{size + ' of ' + kind:<26}" + "".join(f"{cost:>9.0f} µs" for cost in costs))


if __name__ == "__main__":
    main()
