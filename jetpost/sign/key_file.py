"""A key in a file: its name, and what stands above its PEM (RFC 7468, 2 allows text there). Pure.

Replaces: rsa2026
Removed: rsa2026
Retired: 2027-01-15T09:30:00Z

-----BEGIN PRIVATE KEY-----
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from jetpost.mail.address import a_labels

SELECTOR = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
"""In lower case (RFC 6376, 3.1)."""
_BETWEEN, _SUFFIX = "._domainkey.", ".pem"
_BEGIN = b"-----BEGIN "
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_NOTE = re.compile(rb"(Replaces|Removed|Retired):[ \t]*(.*?)[ \t\r]*", re.IGNORECASE)


class KeyName(NamedTuple):
    """What a file in the folder of keys is called after: the name of its record."""

    domain: str
    selector: str


class Notes(NamedTuple):
    """What stands above a key."""

    replaces: frozenset[str] = frozenset()
    """The selectors of the keys that it takes the place of, once DNS shows its record."""
    retired: datetime | None = None
    """Since when the key is replaced for good. None: it is not."""
    removed: frozenset[str] = frozenset()
    """Those of `replaces` whose files a rotation has removed, or is about to. Others that are gone were lost."""


def file_name(domain: str, selector: str) -> str:
    """`rsa2026._domainkey.example.org.pem`: a name that keys of a Kubernetes Secret may have."""
    return f"{selector}{_BETWEEN}{domain}{_SUFFIX}"


def named(name: str) -> KeyName | None:
    """Which key the file `name` has; None when that is no name of a key."""
    selector, between, domain = name.removesuffix(_SUFFIX).lower().partition(_BETWEEN)
    labels = a_labels(domain)
    if not name.endswith(_SUFFIX) or not between or labels is None or not SELECTOR.fullmatch(selector):
        return None
    return KeyName(labels, selector)


def notes_of(content: bytes) -> Notes:
    """The notes of a file. ValueError: one cannot be read."""
    selectors: dict[str, set[str]] = {"replaces": set(), "removed": set()}
    retired = None
    for line in content.partition(_BEGIN)[0].split(b"\n"):
        if (found := _NOTE.fullmatch(line)) is None:
            continue
        name, text = found[1].decode(), found[2].decode("ascii", "replace")
        if name.lower() == "retired":
            retired = _time(text)
        else:
            selectors[name.lower()].update(_selectors(name.capitalize(), text))
    return Notes(frozenset(selectors["replaces"]), retired, frozenset(selectors["removed"]))


def with_notes(content: bytes, notes: Notes) -> bytes:
    """The file with these notes instead of those that it had; other lines stay."""
    above, begin, pem = content.partition(_BEGIN)
    kept = [line for line in above.split(b"\n") if line.strip() and not _NOTE.fullmatch(line)]
    lines = [f"Replaces: {' '.join(sorted(notes.replaces))}".encode()] if notes.replaces else []
    lines += [f"Removed: {' '.join(sorted(notes.removed))}".encode()] if notes.removed else []
    lines += [f"Retired: {notes.retired.astimezone(UTC):{_TIME}}".encode()] if notes.retired else []
    lines += kept
    return b"".join(line + b"\n" for line in lines) + (b"\n" if lines else b"") + begin + pem


def _time(text: str) -> datetime:
    try:
        return datetime.strptime(text, _TIME).replace(tzinfo=UTC)
    except ValueError:
        raise ValueError(f"`Retired:` must be a time such as 2027-01-15T09:30:00Z, got `{text[:40]}`") from None


def _selectors(note: str, text: str) -> Iterable[str]:
    for selector in text.lower().split():
        if not SELECTOR.fullmatch(selector):
            raise ValueError(f"`{note}:` must have selectors such as rsa2026, got `{selector[:40]}`")
        yield selector
