"""Durations and sizes as people write them, in base units: `5m` is 300 seconds, `10MB` is 10 000 000 bytes. Pure."""

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple


class Unit(NamedTuple):
    """What a number counts, and what the suffixes that people write would multiply it by."""

    name: str
    factors: Mapping[str, float]
    example: str
    pattern: str
    """A regular expression of all texts that can be read, plain numbers apart."""


_SECONDS = {"ms": 0.001, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
SECONDS = Unit("seconds", _SECONDS, "`5m`", r"^([0-9]+(\.[0-9]+)? ?(ms|s|sec|m|min|h|d|w) ?)+$")
_PREFIXES = {"k": (10**3, 2**10), "m": (10**6, 2**20), "g": (10**9, 2**30), "t": (10**12, 2**40)}
_BYTES = (
    {"b": 1}
    | {f"{prefix}{byte}": decimal for prefix, (decimal, _) in _PREFIXES.items() for byte in ("", "b")}
    | {f"{prefix}i{byte}": binary for prefix, (_, binary) in _PREFIXES.items() for byte in ("", "b")}
)
BYTES = Unit("bytes", _BYTES, "`10MB` or `8MiB`", r"^[0-9]+(\.[0-9]+)? ?([kKMGT]i?[bB]?|[bB])$")
_SPOKEN: Mapping[str, Mapping[str, float]] = {
    SECONDS.name: {name: _SECONDS[name] for name in ("s", "m", "h", "d")},
    BYTES.name: {name: _BYTES[name.lower()] for name in ("B", "kB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB")},
}
"""Of several names for a factor the one that is written; the base unit first."""
_PART = re.compile(r"(\d+(?:\.\d+)?) ?([A-Za-z]+) ?")


def unit_of(field: str) -> Unit | None:
    """The unit in a field's name: `drain_s` is in seconds, `message_bytes` and `slowest_bytes_per_s` are in bytes."""
    if field.endswith(("_bytes", "_bytes_per_s")):
        return BYTES
    return SECONDS if field.endswith("_s") else None


def for_people(number: float, unit: Unit) -> str:
    """The shortest text that means `number` exactly: 600 seconds are `10m`, 50 000 000 bytes are `50MB`."""
    if not number:
        return "0"
    smallest, *larger = _SPOKEN[unit.name].items()
    whole = [(number / factor, name) for name, factor in larger if number % factor == 0]
    count, name = min(whole, default=(number, smallest[0]))
    return f"{_decimal(count)}{name}"


def in_base_units(text: str, unit: Unit) -> str | None:
    """The number that `text` means: "5m" is "300" seconds, "10MB" is "10000000" bytes; None when it means none.

    Letters count as they are written for durations (`5M` is none), and in either case for sizes. A duration may have
    several parts: `1h30m`.
    """
    if not re.fullmatch(unit.pattern, text):
        return None
    parts = _PART.findall(text)
    # As fractions, since 0.3 kB is 300 bytes and nothing beside it.
    factors = [Fraction(str(unit.factors[name if unit is SECONDS else name.lower()])) for _, name in parts]
    number = sum(Fraction(count) * factor for (count, _), factor in zip(parts, factors, strict=True))
    return _decimal(float(number))


def _decimal(number: float) -> str:
    """`number` without an exponent where it is whole, as a setting that is an integer reads it."""
    return str(int(number)) if number == int(number) else f"{number:.15g}"
