"""Files with keys that sign: those that the configuration names, and all of a folder."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from jetpost.reason import reason_of
from jetpost.sign.key_file import KeyName, Notes, named, notes_of
from jetpost.sign.keys import PrivateKey, private_key
from jetpost.watched import Stamp, stamp

MOST_KEYS = 10_000
"""Of a folder: each takes about 10 KB of memory once it has signed."""
_MOST_FILE_BYTES = 64 * 1024
_MOST_TOLD = 50
_NAME = "the name of a key is SELECTOR._domainkey.DOMAIN.pem"


class Loaded(NamedTuple):
    """A key, and what its file was like before it was read."""

    key: PrivateKey
    notes: Notes
    stamp: Stamp | None


class Listed(NamedTuple):
    """The files of a folder that are called like keys."""

    files: dict[Path, KeyName]
    trouble: dict[Path, str]
    """Other files, and why they are no keys."""


def load(file: Path) -> Loaded:
    """OSError when the file cannot be read, ValueError when it has no key that can sign."""
    seen = stamp(file)
    with file.open("rb") as stream:
        content = stream.read(_MOST_FILE_BYTES)
    return Loaded(private_key(content), notes_of(content), seen)


def listed(folder: Path, besides: Collection[Path] = ()) -> Listed:
    """The keys of a folder, by name, `besides` those of the configuration. OSError when it cannot be read.

    Hidden files are left out: Kubernetes keeps the versions of a Secret there, and an interrupted command its rest.
    """
    with os.scandir(folder) as found:
        names = sorted(it.name for it in found if not it.name.startswith("."))
    files = {folder / name: key for name in names if (key := named(name)) is not None}
    trouble = {
        folder / name: _NAME
        for name in names
        if name.endswith(".pem") and named(name) is None and folder / name not in besides
    }
    if len(files) > MOST_KEYS:
        trouble[folder] = (
            f"it has more than {MOST_KEYS} keys; those after {list(files)[MOST_KEYS - 1].name} are left out"
        )
    return Listed(dict(list(files.items())[:MOST_KEYS]), trouble)


def listed_or_why(folder: Path, besides: Collection[Path] = ()) -> Listed | str:
    """The same; why it cannot be read, for those who go on with what they have."""
    try:
        return listed(folder, besides)
    except OSError as error:
        return reason_of(error)


def loaded_or_why(file: Path) -> Loaded | str:
    """A key, or why there is none that can sign."""
    try:
        return load(file)
    except Exception as error:
        return reason_of(error)


def unusable(folder: Path, besides: Collection[Path] = ()) -> dict[Path, str]:
    """Files of a folder that were meant as keys and cannot sign, and why; some of them when there are many."""
    found = listed_or_why(folder, besides)
    if isinstance(found, str):
        return {folder: found}
    why = dict(found.trouble)
    why |= {file: told for file in found.files if isinstance(told := loaded_or_why(file), str)}
    with os.scandir(folder) as entries:
        others = sorted(Path(it.path) for it in entries if not it.name.startswith(".") and it.is_file())
    known = {*found.files, *found.trouble, *besides}
    why |= {file: _NAME for file in others[:MOST_KEYS] if file not in known and _has_private_key(file)}
    return dict(list(why.items())[:_MOST_TOLD])


def _has_private_key(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            return b"PRIVATE KEY-----" in stream.read(_MOST_FILE_BYTES)
    except OSError:
        return False
