"""DKIM signatures of a message: which fields they cover, and their text (RFC 6376, 3.5, 3.7 and 5.4). Pure."""

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
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
_SIGNED = frozenset((*_ALWAYS, *_WHERE_PRESENT))
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
    names, values = _named(message.header, added)
    if not message.is_whole or len(names) > _MOST_SIGNED:
        return TOO_MANY_FIELDS
    hashed = hashlib.sha256(b"".join(values))
    body = b64encode(message.body_hash).decode()
    seconds = int(now.timestamp())
    folded = _folded(names)
    return tuple([_signature(key, folded, body, hashed.copy(), seconds) for key in chosen])


def _named(header: Header, added: Iterable[HeaderLine]) -> tuple[tuple[bytes, ...], list[bytes]]:
    """The tag `h=`, and the fields that it stands for as they are hashed.

    Of fields with the same name the last one comes first (5.4.2). The last of a name is one that is not there.
    """
    found: dict[bytes, list[bytes]] = {}
    for line in added:
        if (name := line.name.lower().encode()) in _SIGNED:
            found.setdefault(name, []).append(line.value.encode())
    for name, field in zip(*header, strict=True):
        if name in _SIGNED:
            found.setdefault(name, []).append(_value(field))
    names: list[bytes] = []
    fields: list[bytes] = []
    for name in (*_ALWAYS, *[it for it in _WHERE_PRESENT if it in found]):
        values = found.get(name, ())
        fields += [relaxed_field(name, value) + b"\r\n" for value in reversed(values)]
        names += [name] * (len(values) + 1)
    return tuple(names), fields


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


@lru_cache(maxsize=256)
def _folded(names: tuple[bytes, ...]) -> str:
    """The names with colons between them, on lines of a readable length. Many messages have the same ones."""
    lines, line = [], ""
    for each in names:
        name = each.decode()
        if line and len(line) + len(name) >= _LINE:
            lines.append(f"{line}:")
            line = name
        else:
            line = f"{line}:{name}" if line else name
    return "\r\n\t ".join([*lines, line])
