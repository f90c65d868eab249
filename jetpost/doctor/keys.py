"""The keys that sign now, as ingress and bouncer have them."""

from typing import NamedTuple

from jetpost.doctor.finding import Finding, error
from jetpost.process.dkim.choice import read_keys, signing_keys
from jetpost.process.dkim.settings import Dkim
from jetpost.sign.keys import KeyRing, SigningKey
from jetpost.sign.rotation import stages


class Keys(NamedTuple):
    """The keys of an installation."""

    signing: tuple[SigningKey, ...]
    ring: KeyRing
    unusable: tuple[Finding, ...]
    """What is wrong with other files."""


def keys_of(settings: Dkim) -> Keys:
    """The keys that sign. One that is to replace another signs once DNS shows its record; `jetpost dkim` tells it."""
    found = read_keys(settings)
    unusable = [error("dkim", str(file), why) for file, why in found.trouble.items()]
    if found.unread:
        unusable.append(error("dkim", str(settings.folder), f"the folder cannot be read: {found.unread}"))
    held = [it.held for it in found.known]
    keys = signing_keys(held, stages(held, {})).keys
    return Keys(tuple(keys), KeyRing(keys, settings.default_domain), tuple(unusable))
