"""Values are plain numbers in base units; this reads what people write instead, to tell them the number."""

import re
from collections.abc import Mapping
from typing import NamedTuple


class Unit(NamedTuple):
    """What a number counts, and what the suffixes that people write would multiply it by."""

    name: str
    factors: Mapping[str, float]


SECONDS = Unit(
    "seconds",
    {"ms": 0.001, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800},
)
_PREFIXES = {"k": (10**3, 2**10), "m": (10**6, 2**20), "g": (10**9, 2**30), "t": (10**12, 2**40)}
OCTETS = Unit(
    "octets",
    {"b": 1}
    | {f"{prefix}{octet}": decimal for prefix, (decimal, _) in _PREFIXES.items() for octet in ("", "b")}
    | {f"{prefix}i{octet}": binary for prefix, (_, binary) in _PREFIXES.items() for octet in ("", "b")},
)
_QUANTITY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*")


def unit_of(field: str) -> Unit | None:
    """The unit in a field's name: `drain_s` is in seconds, `message_bytes` in octets."""
    if field.endswith("_s"):
        return SECONDS
    if field.endswith("_bytes"):
        return OCTETS
    return None


def in_base_units(text: str, unit: Unit) -> str | None:
    """The number that `text` means: "5m" is "300" seconds, "10MB" is "10000000" octets; None when it means none."""
    found = _QUANTITY.fullmatch(text)
    factor = unit.factors.get(found[2].lower()) if found else None
    return f"{float(found[1]) * factor:.15g}" if found and factor else None
