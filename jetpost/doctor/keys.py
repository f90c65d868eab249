"""The keys that sign now, as ingress and bouncer have them."""

from typing import NamedTuple

from jetpost.doctor.finding import Finding, error
from jetpost.process.dkim.files import Listed, listed_or_why, loaded_or_why
from jetpost.process.dkim.settings import Dkim, held_of
from jetpost.sign.keys import KeyRing, SigningKey
from jetpost.sign.rotation import Held, Stage, stages


class Keys(NamedTuple):
    """The keys of an installation."""

    signing: tuple[SigningKey, ...]
    ring: KeyRing
    unusable: tuple[Finding, ...]
    """What is wrong with other files."""


def keys_of(settings: Dkim) -> Keys:
    """The keys that sign. One that is to replace another signs once DNS shows its record; `jetpost dkim` tells it."""
    configured = {key.file for key in settings.keys}
    folder = Listed({}, {}) if settings.folder is None else listed_or_why(settings.folder, configured)
    unusable: list[Finding] = []
    if isinstance(folder, str):
        unusable.append(error("dkim", str(settings.folder), f"the folder cannot be read: {folder}"))
        folder = Listed({}, {})
    unusable += [error("dkim", str(file), why) for file, why in folder.trouble.items()]
    held: list[Held] = []
    for source in settings.sources(folder.files):
        loaded = loaded_or_why(source.file)
        if isinstance(loaded, str):
            unusable.append(error("dkim", str(source.file), f"the key cannot be used: {loaded}"))
        else:
            held.append(held_of(source, loaded))
    found = stages(held, {})
    keys = tuple([it.key for it in held if found[it.key.domain, it.key.selector] is Stage.SIGNS])
    return Keys(keys, KeyRing(keys, settings.default_domain), tuple(unusable))
