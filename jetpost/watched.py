"""Files that are read again when they change: certificates, users."""

from collections.abc import Iterable
from pathlib import Path

Stamp = tuple[int, int, int]
Stamps = tuple[Stamp | None, ...]
"""Of several files."""


def stamp(file: Path) -> Stamp | None:
    """What changes when a file is written or replaced; None: it cannot be looked at."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def stamps_of(files: Iterable[str]) -> Stamps:
    """The stamp of each of the files with these paths."""
    return tuple(stamp(Path(file)) for file in files)
