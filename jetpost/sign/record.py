"""The TXT record of a key: what to publish, and what a published one says (RFC 6376, 3.6.1; RFC 8463, 4). Pure."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from enum import StrEnum

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from jetpost.sign.keys import PrivateKey, public_bytes

STRING_BYTES = 255
"""The longest string of a TXT record (RFC 1035, 3.3.14)."""


class Finding(StrEnum):
    """What verifiers find under the name of a key."""

    MATCHES = "matches"
    ABSENT = "no such record"
    SEVERAL = "several records: verifiers may take any of them"
    MALFORMED = "not a DKIM record"
    REVOKED = "the key is revoked (empty `p=`)"
    OTHER_KIND = "`k=` names another kind of key"
    OTHER_KEY = "`p=` is another key"
    NO_SHA256 = "`h=` does not allow sha256"
    NO_MAIL = "`s=` does not allow email"
    TESTING = "`t=y`: verifiers ignore the signatures of a key in test mode"


def record_name(domain: str, selector: str) -> str:
    """The name of the record."""
    return f"{selector}._domainkey.{domain}"


def record_text(key: PrivateKey) -> str:
    """The record of a key, as one text."""
    return f"v=DKIM1; k={_kind(key)}; p={b64encode(public_bytes(key)).decode()}"


def strings_of(text: str) -> list[str]:
    """`text` in strings as a TXT record has them: verifiers join them without a space."""
    return [text[begin : begin + STRING_BYTES] for begin in range(0, len(text), STRING_BYTES)]


def zone_line(domain: str, selector: str, key: PrivateKey) -> str:
    """The record as a line of a zone file (RFC 1035, 5.1)."""
    strings = " ".join(f'"{string}"' for string in strings_of(record_text(key)))
    return f"{record_name(domain, selector)}. IN TXT ( {strings} )"


def revoked_line(domain: str, selector: str) -> str:
    """The record that revokes a key, as a line of a zone file (RFC 6376, 3.6.1: an empty `p=`)."""
    return f'{record_name(domain, selector)}. IN TXT ( "v=DKIM1; p=" )'


def finding(texts: Sequence[str], key: PrivateKey) -> Finding:
    """What the records `texts`, the strings of each joined, say about a key."""
    if len(texts) != 1:
        return Finding.SEVERAL if texts else Finding.ABSENT
    tags = _tags(texts[0])
    if tags is None or "p" not in tags or tags.get("v", "DKIM1") != "DKIM1":
        return Finding.MALFORMED
    return _finding(tags, key)


def _finding(tags: Mapping[str, str], key: PrivateKey) -> Finding:
    if not tags["p"]:
        return Finding.REVOKED
    if tags.get("k", "rsa") != _kind(key):
        return Finding.OTHER_KIND
    if tags["p"] not in _encoded(key):
        return Finding.OTHER_KEY
    if "sha256" not in tags.get("h", "sha256").split(":"):
        return Finding.NO_SHA256
    if not {"*", "email"} & set(tags.get("s", "*").split(":")):
        return Finding.NO_MAIL
    if "y" in tags.get("t", "").split(":"):
        return Finding.TESTING
    return Finding.MATCHES


def _kind(key: PrivateKey) -> str:
    return "rsa" if isinstance(key, RSAPrivateKey) else "ed25519"


def _encoded(key: PrivateKey) -> set[str]:
    """The values of `p=` that verifiers take for this key. For RSA some have only the inner part (RFC 6376, 3.6.1)."""
    encoded = {b64encode(public_bytes(key)).decode()}
    if isinstance(key, RSAPrivateKey):
        encoded.add(b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)).decode())
    return encoded


def _tags(text: str) -> dict[str, str] | None:
    """The tags of a record, without white space; None when it is no list of tags (RFC 6376, 3.2)."""
    tags: dict[str, str] = {}
    for each in text.removesuffix(";").split(";"):
        name, equals, value = each.partition("=")
        if not equals or not name.strip() or name.strip() in tags:
            return None
        tags[name.strip()] = "".join(value.split())
    return tags
