"""The key of a certificate, as it is pinned: SHA-256 over its SubjectPublicKeyInfo, in base64 (RFC 7469, 2.4). Pure."""

from base64 import b64decode, b64encode
from binascii import Error as NoBase64
from hashlib import sha256

_SEQUENCE, _VERSION = 0x30, 0xA0
_BEFORE_KEY = 5
"""serialNumber, signature, issuer, validity and subject stand before the key (RFC 5280, 4.1)."""


def checked_pin(text: str) -> str:
    """The same; ValueError when it is no pin."""
    text = text.strip()
    try:
        digest = b64decode(text, validate=True)
    except NoBase64:
        digest = b""
    if len(digest) != sha256().digest_size:
        raise ValueError(f"must be the SHA-256 digest of a public key in base64 (44 characters), got `{text[:60]}`")
    return b64encode(digest).decode()


def pin_of(certificate: bytes) -> str:
    """The pin of the key in a certificate (DER); ValueError when it has none."""
    signed = _content(certificate, 0, _SEQUENCE)
    to_be_signed = _content(certificate, signed, _SEQUENCE)
    position = to_be_signed
    if certificate[position : position + 1] == bytes([_VERSION]):
        position = _end(certificate, position)
    for _ in range(_BEFORE_KEY):
        position = _end(certificate, position)
    _content(certificate, position, _SEQUENCE)
    return b64encode(sha256(certificate[position : _end(certificate, position)]).digest()).decode()


def _content(data: bytes, position: int, tag: int) -> int:
    """Where the content of the element at `position` begins."""
    if data[position : position + 1] != bytes([tag]):
        raise ValueError("it is no certificate")
    return _header(data, position)[0]


def _end(data: bytes, position: int) -> int:
    begin, length = _header(data, position)
    return begin + length


def _header(data: bytes, position: int) -> tuple[int, int]:
    """Of the element at `position`: where its content begins, and the length of it (X.690, 8.1)."""
    if position + 1 >= len(data):
        raise ValueError("it is no certificate")
    length, begin = data[position + 1], position + 2
    if length & 0x80:
        more = length & 0x7F
        length, begin = int.from_bytes(data[begin : begin + more]), begin + more
    if begin + length > len(data):
        raise ValueError("it is no certificate")
    return begin, length
