"""Names in the queue: domains as subject tokens, queue ids, names of consumers; and the way back. Pure.

A token of a subject has no space, dot, `*` or `>` (NATS), and here no other character than `a-z`, `0-9`, `-`, `_` and
`=`. The name of a durable consumer is the name of a folder of nats-server, too.
"""

import hashlib
import re
from datetime import datetime
from functools import lru_cache
from typing import NewType
from zlib import crc32

QueueId = NewType("QueueId", str)
"""Names a message in the queue and in every log line about it; parts and DSNs derive theirs from it."""

DomainToken = NewType("DomainToken", str)
"""The recipient domain as one token of a subject: `dest.test` is `dest_test`."""

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-")
_LOWER = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", b"abcdefghijklmnopqrstuvwxyz")
_TOKENS = tuple(chr(byte) if byte in _PLAIN else "_" if byte == 0x2E else f"={byte:02x}" for byte in range(256))
_DOMAIN_TOKEN = re.compile(r"(?:[a-z0-9_-]|=[0-9a-f]{2})+")
_ESCAPED = re.compile(rb"=([0-9a-f]{2})")
_MOST_TOKEN = 1000
"""A domain has 253 bytes, a literal 252; each byte becomes three characters at most."""
_NOWHERE = "=00"
"""The token of the empty domain."""
_QUEUE_ID = re.compile(r"[0-9a-z]+(?:-[0-9a-z]+)*")
_MOST_QUEUE_ID = 200
_MOST_CONSUMER_NAME = 255
"""nats-server's JSMaxNameLen, and what a file system takes."""
_KEPT_OF_A_LONG_TOKEN = 200
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = tuple(first + second for first in _ALPHABET for second in _ALPHABET)
_SHIFTS = range(80, -1, -10)


class BadName(ValueError):  # noqa: N818 — a state of the world, named as one
    """A token that no encoding here has made."""


@lru_cache(maxsize=8192)
def token_of(domain: str) -> DomainToken:
    """The token of a recipient `domain` (A-labels or an address literal, any case). Reversible by `domain_of`."""
    data = domain.encode("utf-8", "surrogatepass").translate(_LOWER)
    return DomainToken("".join([_TOKENS[byte] for byte in data]) or _NOWHERE)


@lru_cache(maxsize=8192)
def domain_of(domain_token: str) -> str:
    """The domain, in lower case, that `domain_token` stands for. BadName when it is none."""
    if domain_token == _NOWHERE:
        return ""
    if len(domain_token) <= _MOST_TOKEN and _DOMAIN_TOKEN.fullmatch(domain_token):
        data = _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), domain_token.encode().replace(b"_", b"."))
        try:
            domain = data.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            domain = ""
        # Each domain has one token: what another spelling stands for, nobody has said.
        if domain and token_of(domain) == domain_token:
            return domain
    raise BadName(f"{domain_token[:100]!r} is no domain token")


def label_of(domain_token: DomainToken) -> str:
    """The domain; its token when a character of the domain cannot stand in a metric or a log line."""
    domain = domain_of(domain_token)
    return domain if domain and domain.isascii() and domain.isprintable() else domain_token


def is_domain_token(token: str) -> bool:
    """Whether a subject's `token` stands for a domain."""
    try:
        domain_of(token)
    except BadName:
        return False
    return True


def fresh_queue_id(now: datetime, entropy: int) -> QueueId:
    """A queue id that sorts by time: 48 bits of milliseconds since 1970, then 42 bits of `entropy`."""
    number = (int(now.timestamp() * 1000) << 42) | (entropy & ((1 << 42) - 1))
    return QueueId("".join([_PAIRS[(number >> shift) & 1023] for shift in _SHIFTS]))


def is_queue_id(token: str) -> bool:
    """Whether a subject's `token` may be a queue id, or one that is derived from one."""
    return len(token) <= _MOST_QUEUE_ID and _QUEUE_ID.fullmatch(token) is not None


def dsn_id(queue_id: QueueId, domain_token: DomainToken) -> QueueId:
    """The queue id of the DSN about an entry: the same however often it is computed, and of no other entry.

    80 bits of the token's hash: of two failed domains of one message each has its DSN, whoever chose their names.
    """
    return QueueId(f"{queue_id}-d{hashlib.blake2s(domain_token.encode(), digest_size=10).hexdigest()}")


def shard_of(queue_id: str, shards: int) -> int:
    """The shard that keeps a message: the same for all its entries, parts and DSNs."""
    return crc32(queue_id.partition("-")[0].encode()) % shards


def consumer_name(state: str, domain_token: DomainToken | None) -> str:
    """The name of the durable consumer for a state, or for one domain in it; another one for each domain.

    A token that is too long for a name (a domain of 253 bytes with many underscores has 750) is cut and hashed. `==` is
    in no token.
    """
    if domain_token is None:
        return state
    name = f"{state}-{domain_token}"
    if len(name) <= _MOST_CONSUMER_NAME:
        return name
    digest = hashlib.blake2s(domain_token.encode(), digest_size=16).hexdigest()
    return f"{state}-{domain_token[:_KEPT_OF_A_LONG_TOKEN]}=={digest}"
