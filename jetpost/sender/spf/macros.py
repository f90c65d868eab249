"""The macros of SPF: their syntax and what they stand for (RFC 7208, 7). Pure."""

import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import quote

Ip = IPv4Address | IPv6Address

_MOST_NAME_CHARACTERS = 253
_MACRO = r"%\{(?P<letter>[slodiphcrtvSLODIPHCRTV])(?P<digits>[0-9]{0,9})(?P<reverse>[rR]?)(?P<delimiters>[-.+,/_=]*)\}"
_TOKEN = re.compile(rf"{_MACRO}|%(?P<escape>[%_-])|(?P<literal>[!-$&-~]+)")
_ESCAPES = {"%": "%", "_": " ", "-": "%20"}
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?", re.IGNORECASE)
_EXPLANATION_LETTERS = frozenset("crt")
_UNRESERVED = "-._~"


def is_macro_string(text: str, *, explains: bool = False) -> bool:
    """Whether `text` is one; `explains` allows what only explanations may have: `c`, `r`, `t`, and spaces."""
    return _tokens(text, explains=explains) is not None


def is_domain_spec(text: str) -> bool:
    """Whether `text` is a domain-spec: a macro-string that ends with a macro, or with a dot and a top label."""
    tokens = _tokens(text)
    if not tokens:
        return False
    return tokens[-1]["letter"] is not None or _ends_with_top_label(text)


def _tokens(text: str, *, explains: bool = False) -> list[re.Match[str]] | None:
    """The macros, escapes and literals of a macro-string, without spaces; None when it is none."""
    tokens: list[re.Match[str]] = []
    position = 0
    while position < len(text):
        if explains and text[position] == " ":
            position += 1
            continue
        token = _TOKEN.match(text, position)
        if token is None:
            return None
        letter = token["letter"]
        if letter is not None and not explains and letter.lower() in _EXPLANATION_LETTERS:
            return None
        if token["digits"] and int(token["digits"]) == 0:
            return None
        tokens.append(token)
        position = token.end()
    return tokens


def _ends_with_top_label(text: str) -> bool:
    """Whether `text` ends with a dot and a top label, which is no number (RFC 7208, 7.1)."""
    _, dot, label = text.removesuffix(".").rpartition(".")
    return bool(dot) and _LABEL.fullmatch(label) is not None and not label.isdecimal()


def letters_of(text: str) -> frozenset[str]:
    """The macro letters in a macro-string, in lower case."""
    return frozenset(token["letter"].lower() for token in _TOKEN.finditer(text) if token["letter"])


def values_for(ip: Ip, sender: str, helo: str) -> dict[str, str]:
    """What the macro letters stand for, but `d` and `p` (RFC 7208, 7.2); `sender` has a local part."""
    local, _, domain = sender.rpartition("@")
    dotted = str(ip) if isinstance(ip, IPv4Address) else ".".join(ip.exploded.replace(":", ""))
    return {
        "s": sender,
        "l": local,
        "o": domain,
        "i": dotted,
        "c": str(ip),
        "v": "in-addr" if isinstance(ip, IPv4Address) else "ip6",
        "h": helo,
        "r": "unknown",
    }


def expand(text: str, values: Mapping[str, str]) -> str:
    """A macro-string with its macros replaced; `values` has every letter that it uses, in lower case."""
    expanded: list[str] = []
    position = 0
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:  # a space of an explanation
            expanded.append(text[position])
            position += 1
            continue
        expanded.append(_value(token, values))
        position = token.end()
    return "".join(expanded)


def expand_domain(text: str, values: Mapping[str, str]) -> str:
    """As `expand`; labels are removed from the left of what is too long for a name (RFC 7208, 7.3)."""
    name = expand(text, values).removesuffix(".")
    if len(name) <= _MOST_NAME_CHARACTERS:
        return name
    _, dot, rest = name[-_MOST_NAME_CHARACTERS - 1 :].partition(".")
    return rest if dot else name


def plain_ip(address: str) -> Ip:
    """An IP address; an IPv4 address mapped into IPv6 is what it stands for. ValueError: it is none."""
    ip = ip_address(address)
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    return ip if mapped is None else mapped


def _value(token: re.Match[str], values: Mapping[str, str]) -> str:
    if token["literal"] is not None:
        return token["literal"]
    if token["escape"] is not None:
        return _ESCAPES[token["escape"]]
    letter = token["letter"]
    parts = re.split(f"[{re.escape(token['delimiters'] or '.')}]", values[letter.lower()])
    if token["reverse"]:
        parts.reverse()
    if token["digits"]:
        parts = parts[-int(token["digits"]) :]
    value = ".".join(parts)
    return quote(value, safe=_UNRESERVED) if letter.isupper() else value
