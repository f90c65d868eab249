"""DKIM signatures of a message: which fields they cover, and their text (RFC 6376, 3.5, 3.7 and 5.4). Pure."""

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from jetpost.mail.header import MOST_FIELDS, MOST_HEADER_BYTES, Header, HeaderLine, parse
from jetpost.sign.author import author_domain
from jetpost.sign.body_hash import BodyHash
from jetpost.sign.canonical import relaxed_field
from jetpost.sign.keys import KeyRing, SigningKey

_ALWAYS = (
    b"from",
    b"to",
    b"cc",
    b"reply-to",
    b"subject",
    b"date",
    b"message-id",
    b"mime-version",
    b"content-type",
    b"content-transfer-encoding",
)
"""Signed once more than they occur: nobody can add one."""
_WHERE_PRESENT = (
    b"sender",
    b"in-reply-to",
    b"references",
    b"content-id",
    b"content-description",
    b"content-disposition",
    b"content-language",
    b"content-location",
    b"list-archive",
    b"list-help",
    b"list-id",
    b"list-owner",
    b"list-post",
    b"list-subscribe",
    b"list-unsubscribe",
    b"list-unsubscribe-post",
    b"auto-submitted",
    b"autocrypt",
    b"cfbl-address",
    b"cfbl-feedback-id",
    b"feedback-id",
    b"tls-report-domain",
    b"tls-report-submitter",
    b"tls-required",
)
"""The same for those that the message has. A mailing list may add its own to a message that has none."""
_MOST_SIGNED = 200
"""Fields that a signature names. RFC 5322, 3.6 has most of them at most once."""
_LINE = 72


class Signable(NamedTuple):
    """What there is to sign of a content."""

    header: Header
    body_hash: bytes
    """The SHA-256 of the body in relaxed form."""
    is_whole: bool
    """Whether the header was read to its end."""


class Unsigned(NamedTuple):
    """There is no signature. `reason` is a word for the metrics."""

    reason: str


NO_AUTHOR = Unsigned("author")
"""No From field, several, or one with no domain or several: receivers do not agree on whose message it is."""
NO_KEY = Unsigned("key")
TOO_MANY_FIELDS = Unsigned("header")
REASONS = (NO_AUTHOR, NO_KEY, TOO_MANY_FIELDS)


def signable(header: Header, body_hash: BodyHash) -> Signable:
    """A content that was observed to its end."""
    size = sum(map(len, header.fields)) + 2 * len(header.fields)
    is_whole = len(header.fields) < MOST_FIELDS and size < MOST_HEADER_BYTES - 4
    return Signable(header, body_hash.digest(), is_whole)


def signable_of(content: bytes) -> Signable:
    """A content that is in memory."""
    body_hash = BodyHash()
    body_hash.observe(content)
    end = 0 if content.startswith(b"\r\n") else content.find(b"\r\n\r\n")
    return signable(parse(content if end < 0 else content[:end]), body_hash)


def signatures(
    message: Signable, added: Sequence[HeaderLine], keys: KeyRing, now: datetime
) -> tuple[HeaderLine, ...] | Unsigned:
    """A DKIM-Signature field for each key of the author's domain, made at `now`; `added` stands above the content."""
    authors = [field for name, field in zip(*message.header, strict=True) if name == b"from"]
    if len(authors) != 1:
        return NO_AUTHOR if message.is_whole else TOO_MANY_FIELDS
    domain = author_domain(_value(authors[0]))
    if not domain:
        return NO_AUTHOR
    chosen = keys.keys_for(domain)
    if not chosen:
        return NO_KEY
    named = _named(message.header, added)
    if not message.is_whole or len(named) > _MOST_SIGNED:
        return TOO_MANY_FIELDS
    hashed = hashlib.sha256()
    for field in named:
        if field.text is not None:
            hashed.update(relaxed_field(field.name, field.text) + b"\r\n")
    names = _folded([field.name.decode() for field in named])
    body = b64encode(message.body_hash).decode()
    return tuple([_signature(key, names, body, hashed.copy(), int(now.timestamp())) for key in chosen])


class _Field(NamedTuple):
    """A name in the tag `h=`, and the value of the field it stands for; None for one that is not there."""

    name: bytes
    text: bytes | None


def _named(header: Header, added: Iterable[HeaderLine]) -> list[_Field]:
    """What is signed, in the order of the tag `h=`: of fields with the same name the last one first (5.4.2)."""
    values: dict[bytes, list[bytes]] = {name: [] for name in _ALWAYS}
    for line in added:
        values.setdefault(line.name.lower().encode(), []).append(line.value.encode())
    for name, field in zip(*header, strict=True):
        values.setdefault(name, []).append(_value(field))
    named: list[_Field] = []
    for name in (*_ALWAYS, *[name for name in _WHERE_PRESENT if name in values]):
        named += [_Field(name, value) for value in reversed(values[name])]
        named.append(_Field(name, None))
    return named


def _value(field: bytes) -> bytes:
    return field.partition(b":")[2]


def _signature(key: SigningKey, names: str, body: str, hashed: "hashlib._Hash", seconds: int) -> HeaderLine:
    """The field itself is hashed last, with an empty `b=`, and without the CRLF at its end (3.7)."""
    unsigned = (
        f"v=1; a={key.algorithm}; c=relaxed/relaxed;\r\n"
        f"\td={key.domain}; s={key.selector};\r\n"
        f"\tt={seconds}; bh={body};\r\n"
        f"\th={names};\r\n"
        "\tb="
    )
    hashed.update(relaxed_field(b"dkim-signature", unsigned.encode()))
    encoded = b64encode(key.sign(hashed.digest())).decode()
    lines = [encoded[begin : begin + _LINE] for begin in range(0, len(encoded), _LINE)]
    return HeaderLine("DKIM-Signature", unsigned + "\r\n\t ".join(lines))


def _folded(names: Iterable[str]) -> str:
    """The names with colons between them, on lines of a readable length."""
    lines, line = [], ""
    for name in names:
        if line and len(line) + len(name) >= _LINE:
            lines.append(f"{line}:")
            line = name
        else:
            line = f"{line}:{name}" if line else name
    return "\r\n\t ".join([*lines, line])
