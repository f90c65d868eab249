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
"""Names a message in the queue and in every log line about it; parts and reports derive theirs from it."""

Site = NewType("Site", str)
"""The destination as one subject token: the recipient domain with dots as underscores."""

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-")
_LOWER = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", b"abcdefghijklmnopqrstuvwxyz")
_TOKENS = tuple(chr(octet) if octet in _PLAIN else "_" if octet == 0x2E else f"={octet:02x}" for octet in range(256))
_SITE = re.compile(r"(?:[a-z0-9_-]|=[0-9a-f]{2})+")
_ESCAPED = re.compile(rb"=([0-9a-f]{2})")
_MOST_SITE = 1000
"""A domain has 253 octets, a literal 252, and an octet three characters."""
_NOWHERE = "=00"
"""The site of the empty domain."""
_QUEUE_ID = re.compile(r"[0-9a-z]+(?:-[0-9a-z]+)*")
_MOST_QUEUE_ID = 200
_MOST_CONSUMER_NAME = 255
"""nats-server's JSMaxNameLen, and what a file system takes."""
_KEPT_OF_A_LONG_SITE = 200
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = tuple(first + second for first in _ALPHABET for second in _ALPHABET)
_SHIFTS = range(80, -1, -10)


class BadName(ValueError):  # noqa: N818 — a state of the world, named as one
    """A token that no encoding here has made."""


@lru_cache(maxsize=8192)
def site_of(domain: str) -> Site:
    """The site of a recipient `domain` (A-labels or an address literal, any case). Reversible by `domain_of`."""
    octets = domain.encode("utf-8", "surrogatepass").translate(_LOWER)
    return Site("".join([_TOKENS[octet] for octet in octets]) or _NOWHERE)


@lru_cache(maxsize=8192)
def domain_of(site: str) -> str:
    """The domain, in lower case, that a `site` token stands for. BadName when it is none."""
    if site == _NOWHERE:
        return ""
    if len(site) <= _MOST_SITE and _SITE.fullmatch(site):
        octets = _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), site.encode().replace(b"_", b"."))
        try:
            domain = octets.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            domain = ""
        # Each domain has one token: what another spelling stands for, nobody has said.
        if domain and site_of(domain) == site:
            return domain
    raise BadName(f"{site[:100]!r} is no site")


def is_site(token: str) -> bool:
    """Whether a subject's `token` is a site."""
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


def report_id(queue_id: QueueId, site: Site) -> QueueId:
    """The queue id of the report about an entry: the same however often it is computed, and of no other entry.

    80 bits of the site's hash: of two failed sites of one message each has its report, whoever chose their names.
    """
    return QueueId(f"{queue_id}-d{hashlib.blake2s(site.encode(), digest_size=10).hexdigest()}")


def shard_of(queue_id: str, shards: int) -> int:
    """The shard that keeps a message: the same for all its entries, parts and reports."""
    return crc32(queue_id.partition("-")[0].encode()) % shards


def consumer_name(state: str, site: Site | None) -> str:
    """The name of the durable consumer for a state, or for one site in it; another one for each site.

    A site that is too long for a name (a domain of 253 octets with many underscores has 750) is cut and hashed. `==` is
    in no site.
    """
    if site is None:
        return state
    name = f"{state}-{site}"
    if len(name) <= _MOST_CONSUMER_NAME:
        return name
    return f"{state}-{site[:_KEPT_OF_A_LONG_SITE]}=={hashlib.blake2s(site.encode(), digest_size=16).hexdigest()}"
