"""What a message of 100 KB costs with two DKIM signatures: `python -m bench.signing`. Processor time."""

import base64
import random
import time
from datetime import UTC, datetime

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


def _least_us(content: bytes, ring: KeyRing) -> float:
    """Of single messages: a machine with other work is undisturbed for that long."""
    now, least = datetime.now(UTC), float("inf")
    for _ in range(_REPETITIONS):
        began = time.process_time()
        _sign(content, ring, now)
        least = min(least, time.process_time() - began)
    return least * 1e6


def main() -> None:
    """Measure and print, in microseconds."""
    rsa, ed25519 = generate_private_key(65537, 2048), Ed25519PrivateKey.generate()
    kinds: dict[str, tuple[PrivateKey, ...]] = {"RSA-2048": (rsa,), "Ed25519": (ed25519,), "both": (rsa, ed25519)}
    rings = {
        name: KeyRing([SigningKey("example.org", str(number), key) for number, key in enumerate(keys)])
        for name, keys in kinds.items()
    }
    print(f"{'body':<26}" + "".join(f"{name:>12}" for name in rings))
    for size, count in _SIZES.items():
        for kind, body in _bodies(count).items():
            costs = [_least_us(_HEADER + b"\r\n" + body, ring) for ring in rings.values()]
            print(f"{size + ' of ' + kind:<26}" + "".join(f"{cost:>9.0f} µs" for cost in costs))


if __name__ == "__main__":
    main()
