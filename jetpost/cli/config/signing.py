"""Which DKIM keys would sign a message: those of the configuration, as ingress and the bouncer choose them."""

from pathlib import Path
from typing import Any

from jetpost.cli.dkim.keys import asked
from jetpost.cli.reach import sources
from jetpost.config.load import ConfigurationError, load
from jetpost.dns.resolver import Dns
from jetpost.mail.address import a_labels
from jetpost.process.dkim.choice import read_keys, signing_keys
from jetpost.process.dkim.records import is_shown
from jetpost.process.dkim.settings import Dkim
from jetpost.sign.keys import KeyRing, SigningKey
from jetpost.sign.rotation import Held, asked_for, stages


def signing(config: Path | None, data: Path, dns: Dns, author_domain: str) -> dict[str, Any]:
    """The keys that sign for authors at `author_domain`, and why there are none. DNS is asked where keys are replaced.

    The keys may not be readable here: in a cluster only ingress and the bouncer have them.
    """
    told: dict[str, Any] = {"author_domain": author_domain, "keys": [], "why": ""}
    if not author_domain:
        return told | {"why": "no author's domain is known; give --header-from"}
    file, environ = sources(config, data)
    try:
        settings = load(file, environ, sections=("dkim",)).of(Dkim)
    except ConfigurationError as error:
        return told | {"why": f"unknown, as this process cannot use the keys: {error.problems[0]}"}
    keys, trouble, unread = read_keys(settings)
    if unread:
        return told | {"why": f"unknown, as this process cannot read {settings.folder}: {unread}"}
    if not keys and trouble:
        unusable, why = next(iter(trouble.items()))
        return told | {"why": f"unknown, as this process cannot use the keys: {unusable}: {why}"}
    if not keys:
        return told | {"why": "no keys are configured (dkim.keys, dkim.folder)"}
    ring = KeyRing(_signing(dns, [it.held for it in keys]), settings.default_domain)
    found = ring.keys_for(a_labels(author_domain) or author_domain.lower())
    told["keys"] = [{"domain": it.domain, "selector": it.selector, "algorithm": it.algorithm} for it in found]
    return told if found else told | {"why": f"no key signs for authors at {author_domain}"}


def _signing(dns: Dns, keys: list[Held]) -> list[SigningKey]:
    """Those of the keys that sign now: of keys that replace one another, one does (see `jetpost dkim rotate`)."""
    waiting = asked_for(keys)
    answers = zip(waiting, asked(dns, waiting) if waiting else (), strict=True)
    shown = {
        (it.key.domain, it.key.selector): answer
        for it, found in answers
        if (answer := is_shown(found.values())) is not None
    }
    return signing_keys(keys, stages(keys, shown)).keys
