"""The configuration of DKIM signatures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, NamedTuple, Self

from pydantic import AfterValidator, Field, model_validator

from jetpost.config.section import DomainName, SecretFile, Section, domain_name
from jetpost.process.dkim.files import Loaded, listed, load, unusable
from jetpost.reason import reason_of
from jetpost.sign.key_file import SELECTOR, KeyName
from jetpost.sign.keys import SigningKey
from jetpost.sign.rotation import Held

MOST_KEYS_OF_A_DOMAIN = 4
"""Verifiers look at a few signatures only."""


def _selector(name: str) -> str:
    if not SELECTOR.fullmatch(name.lower()):
        raise ValueError(f"must be a name such as s2026, got `{name}`")
    return name.lower()


def _folder(path: Path) -> Path:
    try:
        listed(path)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    return path


class Source(NamedTuple):
    """Where a key comes from."""

    name: KeyName
    file: Path
    replaces: tuple[str, ...] = ()
    """Beside those that its file names."""
    is_configured: bool = True
    """False: it is in the folder."""


class DkimKey(Section):
    """A key that signs for a domain, and for the domains below it that have no keys of their own."""

    domain: DomainName
    """The domain in the author's address (From). It is also the domain of the signature (`d=`)."""
    selector: Annotated[str, AfterValidator(_selector)]
    """The name of the key (`s=`). The public key is at `<selector>._domainkey.<domain>` in DNS."""
    file: SecretFile
    """The private key (PEM): RSA of 2048 to 4096 bits, or Ed25519, without a passphrase."""
    replaces: tuple[Annotated[str, AfterValidator(_selector)], ...] = ()
    """The selectors of keys of this domain that this key replaces. It signs once all name servers show its record.
    Until then those keys sign."""

    @model_validator(mode="after")
    def _is_a_key(self) -> Self:
        try:
            load(self.file)
        except (OSError, ValueError) as error:
            raise ValueError(f"cannot use {self.file}: {reason_of(error)}") from error
        return self


class Dkim(Section):
    """DKIM signatures of messages that ingress accepts from clients that may send anywhere, and of DSNs."""

    keys: tuple[DkimKey, ...] = ()
    """All keys of a domain sign, but for those that another one replaces. Have one of RSA, because not all receivers
    verify Ed25519. Without keys nothing is signed."""
    folder: Annotated[Path | None, AfterValidator(lambda path: _folder(path) if path else None)] = None
    """A folder with more keys, in files called `SELECTOR._domainkey.DOMAIN.pem`. Files that appear there sign without a
    restart, and `jetpost dkim rotate` works there. A file that has no key that can sign stops no other. Four
    keys of a domain sign at most. 10 000 keys are read at most; each takes 10 KB of memory."""
    default_domain: Annotated[str, AfterValidator(lambda name: domain_name(name) if name else "")] = ""
    """The domain whose keys sign for all authors that have none. Empty: their messages are not signed."""
    reload_s: Annotated[float, Field(gt=0)] = 10
    """How often the files are looked at. Changed ones are taken without a restart."""
    records_s: Annotated[float, Field(ge=60)] = 3600
    """How often the bouncer compares the keys with their records in DNS (`jetpost_dkim_record_differs`)."""
    rotation_s: Annotated[float, Field(gt=0)] = 60
    """How often ingress and bouncer ask all name servers for the record of a key that is to replace another one."""

    @model_validator(mode="after")
    def _keys_have_names_of_their_own(self) -> Self:
        domains = [key.domain for key in self.keys]
        names = [(key.domain, key.selector) for key in self.keys]
        if len(set(names)) < len(names):
            raise ValueError("two keys have the same domain and selector")
        if crowded := next((it for it in domains if domains.count(it) > MOST_KEYS_OF_A_DOMAIN), None):
            raise ValueError(
                f"{crowded} has more than {MOST_KEYS_OF_A_DOMAIN} keys: verifiers ignore so many signatures"
            )
        if self.default_domain and self.default_domain not in domains and self.folder is None:
            raise ValueError(f"default_domain: there is no key of {self.default_domain}")
        return self

    def remarks(self) -> tuple[str, ...]:
        """Files of the folder that sign nothing; they stop no other."""
        if self.folder is None:
            return ()
        found = unusable(self.folder, {key.file for key in self.keys})
        return tuple(f"dkim.folder: {file} signs nothing: {why}" for file, why in found.items())

    def sources(self, folder: Mapping[Path, KeyName]) -> list[Source]:
        """The keys of `dkim.keys`, and those that the folder has now. A name has one key: the configured one."""
        found = {
            KeyName(key.domain, key.selector): Source(KeyName(key.domain, key.selector), key.file, key.replaces)
            for key in self.keys
        }
        for file, name in folder.items():
            found.setdefault(name, Source(name, file, is_configured=False))
        return list(found.values())


def held_of(source: Source, loaded: Loaded) -> Held:
    """The key of a file, under its name."""
    notes = loaded.notes._replace(replaces=loaded.notes.replaces | set(source.replaces))
    return Held(SigningKey(source.name.domain, source.name.selector, loaded.key), notes)
