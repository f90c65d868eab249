"""An SPF record: its terms, or what is wrong with it (RFC 7208, 4.5, 4.6 and 12). Pure."""

import re
from enum import StrEnum
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NamedTuple

from jetpost.sender.spf.macros import is_domain_spec, is_macro_string


class Result(StrEnum):
    """What SPF says of a client (RFC 7208, 2.6)."""

    NONE = "none"
    NEUTRAL = "neutral"
    PASS = "pass"  # noqa: S105 — a result
    FAIL = "fail"
    SOFTFAIL = "softfail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class Mechanism(NamedTuple):
    """A mechanism with its qualifier."""

    qualifier: Result
    kind: str
    """`all`, `include`, `a`, `mx`, `ptr`, `ip4`, `ip6` or `exists`."""
    domain: str = ""
    """A domain-spec, in which macros are to be replaced; "" is the current domain."""
    ipv4_bits: int = 32
    ipv6_bits: int = 128
    network: IPv4Network | IPv6Network | None = None
    """Of `ip4` and `ip6`."""
    text: str = ""
    """As written."""


class Record(NamedTuple):
    """A record without mistakes."""

    mechanisms: tuple[Mechanism, ...]
    redirect: str = ""
    explanation: str = ""
    """The domain-spec of `exp=`."""


class Malformed(NamedTuple):
    """A record with a mistake: permerror."""

    why: str


_VERSION = re.compile(r"v=spf1(?: |\Z)", re.IGNORECASE)
_MODIFIER = re.compile(r"([a-z][a-z0-9._-]*)=(.*)", re.IGNORECASE | re.DOTALL)
_MECHANISM = re.compile(r"([+?~-]?)([a-z][a-z0-9._-]*)(?:(:)(.*?))?((?:/[0-9]+)?(?://[0-9]+)?)", re.IGNORECASE)
_QUALIFIERS = {"": Result.PASS, "+": Result.PASS, "-": Result.FAIL, "?": Result.NEUTRAL, "~": Result.SOFTFAIL}
_NEEDS_DOMAIN = frozenset({"include", "exists"})
_MAY_HAVE_DOMAIN = frozenset({"a", "mx", "ptr"})
_HAS_BITS = frozenset({"a", "mx"})


def is_spf(text: str) -> bool:
    """Whether a TXT record is an SPF record (RFC 7208, 4.5)."""
    return _VERSION.match(text) is not None


def parse(text: str) -> Record | Malformed:
    """The record in `text`, which `is_spf`. A mistake anywhere makes all of it useless (RFC 7208, 4.6)."""
    mechanisms: list[Mechanism] = []
    modifiers: dict[str, str] = {}
    for term in text[len("v=spf1") :].split(" "):
        if not term:
            continue
        modifier = _MODIFIER.fullmatch(term)
        if modifier is None:
            mechanism = _mechanism(term)
            if isinstance(mechanism, Malformed):
                return mechanism
            mechanisms.append(mechanism)
            continue
        name, value = modifier[1].lower(), modifier[2]
        is_known = name in {"redirect", "exp"}
        if is_known and name in modifiers:
            return Malformed(f"`{name}=` is there more than once")
        if not (is_domain_spec(value) if is_known else is_macro_string(value)):
            return Malformed(f"`{term}` is not well-formed")
        modifiers[name] = value
    return Record(tuple(mechanisms), modifiers.get("redirect", ""), modifiers.get("exp", ""))


def _mechanism(term: str) -> Mechanism | Malformed:
    found = _MECHANISM.fullmatch(term)
    kind = found[2].lower() if found else ""
    if found is None or kind not in {"all", "ip4", "ip6", *_NEEDS_DOMAIN, *_MAY_HAVE_DOMAIN}:
        return Malformed(f"`{term}` is no mechanism")
    qualifier, argument, bits = _QUALIFIERS[found[1]], found[4], found[5]
    if kind in {"ip4", "ip6"}:
        network = _network(kind, f"{argument or ''}{bits}")
        return (
            Malformed(f"`{term}` has no network")
            if network is None
            else Mechanism(qualifier, kind, network=network, text=term)
        )
    if kind not in _HAS_BITS and bits:
        if kind == "all" or not found[3]:
            return Malformed(f"`{term}` is not well-formed")
        argument, bits = f"{argument}{bits}", ""  # a slash may stand in a domain-spec
    has_domain = found[3] is not None
    if has_domain is not (kind in _NEEDS_DOMAIN) and (kind not in _MAY_HAVE_DOMAIN):
        return Malformed(f"`{term}` is not well-formed")
    if has_domain and not is_domain_spec(argument):
        return Malformed(f"`{term}` has no domain")
    lengths = _lengths(bits)
    return (
        Malformed(f"`{term}` has a prefix that is too long")
        if lengths is None
        else Mechanism(qualifier, kind, argument or "", *lengths, text=term)
    )


def _lengths(bits: str) -> tuple[int, int] | None:
    """The prefix lengths of `/24//64`; None when one is impossible."""
    ipv4, _, ipv6 = bits.partition("//")
    lengths = [_length(ipv4.removeprefix("/"), 32), _length(ipv6, 128)]
    return None if None in lengths else (lengths[0] or 0, lengths[1] or 0)


def _length(digits: str, most: int) -> int | None:
    if not digits:
        return most
    if len(digits) > 3 or digits != str(int(digits)) or int(digits) > most:
        return None
    return int(digits)


def _network(kind: str, text: str) -> IPv4Network | IPv6Network | None:
    address, slash, bits = text.partition("/")
    length = _length(bits, 32 if kind == "ip4" else 128) if bits.isdecimal() or not slash else None
    if length is None:
        return None
    try:
        if kind == "ip4":
            return IPv4Network((IPv4Address(address), length), strict=False)
        return IPv6Network((IPv6Address(address), length), strict=False)
    except (AddressValueError, ValueError):
        return None
