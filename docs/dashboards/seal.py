"""Of which dashboard a picture is: noted in the picture itself, so that nobody can forget to draw it again."""

import hashlib
import struct
from pathlib import Path

from docs.dashboards.panel import Dashboard

KEY = "Dashboard"
"""The keyword of the note (PNG, tEXt)."""
_HEAD = 8


def seal(dashboard: Dashboard) -> str:
    """A checksum of all that a picture of the dashboard shows but for the values."""
    shown = [dashboard.title]
    for row in dashboard.rows:
        shown.append("row")
        shown += [repr((it.title, it.unit, tuple(it.queries), it.kind, it.thresholds, it.stacked)) for it in row]
    return hashlib.sha256("\n".join(shown).encode()).hexdigest()


def noted(picture: Path) -> str | None:
    """The seal that is noted in a PNG; None: there is none."""
    octets = picture.read_bytes()
    at = _HEAD
    while at < len(octets):
        length, kind = struct.unpack_from(">I4s", octets, at)
        keyword, _, text = octets[at + _HEAD : at + _HEAD + length].partition(b"\0")
        if kind == b"tEXt" and keyword.decode("latin-1") == KEY:
            return text.decode("latin-1")
        at += _HEAD + length + 4  # the checksum of the chunk
    return None
