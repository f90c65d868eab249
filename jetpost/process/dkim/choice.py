"""The keys that a configuration has now, and which of them sign."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from jetpost.process.dkim.files import Listed, listed_or_why, loaded_or_why
from jetpost.process.dkim.settings import MOST_KEYS_OF_A_DOMAIN, Dkim, Source, held_of
from jetpost.sign.keys import SigningKey
from jetpost.sign.rotation import Held, Stage


class Known(NamedTuple):
    """A key, and where it comes from."""

    source: Source
    held: Held


class Keys(NamedTuple):
    """All keys that can sign, and what can not."""

    known: list[Known]
    trouble: dict[Path, str]
    """Files that are no keys, and why."""
    unread: str
    """Why the folder cannot be read."""


class Signing(NamedTuple):
    """The keys that sign."""

    keys: list[SigningKey]
    crowded: list[str]
    """Domains with more keys than verifiers look at: the others do not sign."""


def read_keys(settings: Dkim) -> Keys:
    """All files, once."""
    configured = {key.file for key in settings.keys}
    folder = Listed({}, {}) if settings.folder is None else listed_or_why(settings.folder, configured)
    listed = Listed({}, {}) if isinstance(folder, str) else folder
    found, trouble = [], dict(listed.trouble)
    for source in settings.sources(listed.files):
        loaded = loaded_or_why(source.file)
        if isinstance(loaded, str):
            trouble[source.file] = f"the key cannot be used: {loaded}"
        else:
            found.append(Known(source, held_of(source, loaded)))
    return Keys(found, trouble, folder if isinstance(folder, str) else "")


def signing_keys(keys: Iterable[Held], stages: Mapping[tuple[str, str], Stage]) -> Signing:
    """Those of the keys that sign in these stages."""
    signing: dict[str, list[SigningKey]] = {}
    for it in keys:
        if stages[it.key.domain, it.key.selector] is Stage.SIGNS:
            signing.setdefault(it.key.domain, []).append(it.key)
    chosen = [key for of_domain in signing.values() for key in of_domain[:MOST_KEYS_OF_A_DOMAIN]]
    return Signing(chosen, [domain for domain, it in signing.items() if len(it) > MOST_KEYS_OF_A_DOMAIN])
