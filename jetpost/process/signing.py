"""The keys that sign with DKIM, read again when their files change; and signatures made with them."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, NamedTuple, Self

from prometheus_client import Counter, Gauge
from pydantic import AfterValidator, Field, model_validator

from jetpost.config.section import ReadableFile, Section
from jetpost.mail.address import a_labels
from jetpost.mail.header import HeaderLine
from jetpost.reason import reason_of
from jetpost.sign.dkim import REASONS, Signable, Unsigned, signatures
from jetpost.sign.keys import KeyRing, PrivateKey, SigningKey, private_key
from jetpost.tasks import end
from jetpost.telemetry.log import logger
from jetpost.watched import Stamp, stamp

SIGNED = Counter("jetpost_dkim_signed_total", "Messages that got DKIM signatures.")
UNSIGNED = Counter(
    "jetpost_dkim_unsigned_total",
    "Messages to be signed that got no signature. Labels: `reason` is author (no From field, or several), key (none for"
    " the author's domain), or header (too large, or too many fields).",
    ["reason"],
)
UNUSABLE = Gauge(
    "jetpost_dkim_key_unusable",
    "1 while the file of a key cannot be used, and its previous key signs. Labels: `file`.",
    ["file"],
)

MOST_KEYS_OF_A_DOMAIN = 4
"""Verifiers look at a few signatures only."""
_MOST_FILE_BYTES = 64 * 1024
SELECTOR = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
"""In lower case (RFC 6376, 3.1)."""

log = logger(__name__)


def _domain(name: str) -> str:
    labels = a_labels(name)
    if labels is None:
        raise ValueError(f"must be a domain such as example.org, got `{name}`")
    return labels


def _selector(name: str) -> str:
    if not SELECTOR.fullmatch(name.lower()):
        raise ValueError(f"must be a name such as s2026, got `{name}`")
    return name.lower()


class DkimKey(Section):
    """A key that signs for a domain, and for the domains below it that have no keys of their own."""

    domain: Annotated[str, AfterValidator(_domain)]
    """The domain in the author's address (From). It is also the domain of the signature (`d=`)."""
    selector: Annotated[str, AfterValidator(_selector)]
    """The name of the key (`s=`). The public key is at `<selector>._domainkey.<domain>` in DNS."""
    file: ReadableFile
    """The private key (PEM): RSA of 2048 to 4096 bits, or Ed25519, without a passphrase."""

    @model_validator(mode="after")
    def _is_a_key(self) -> Self:
        try:
            _read(self.file)
        except (OSError, ValueError) as error:
            raise ValueError(f"cannot use {self.file}: {reason_of(error)}") from error
        return self


class Dkim(Section):
    """DKIM signatures of messages that ingress accepts from clients that may send anywhere, and of DSNs."""

    keys: tuple[DkimKey, ...] = ()
    """All keys of a domain sign. Have one of RSA, because not all receivers verify Ed25519. Without keys nothing is
    signed."""
    default_domain: Annotated[str, AfterValidator(lambda name: _domain(name) if name else "")] = ""
    """The domain whose keys sign for all authors that have none. Empty: their messages are not signed."""
    reload_s: Annotated[float, Field(gt=0)] = 10
    """How often the files are looked at. Changed ones are taken without a restart."""
    records_s: Annotated[float, Field(ge=60)] = 3600
    """How often the bouncer compares the keys with their records in DNS (`jetpost_dkim_record_differs`)."""

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
        if self.default_domain and self.default_domain not in domains:
            raise ValueError(f"default_domain: there is no key of {self.default_domain}")
        return self


class _Loaded(NamedTuple):
    key: PrivateKey
    stamp: Stamp | None
    """Of the file before it was read."""


class Signer:
    """Signs messages with keys that follow their files."""

    def __init__(self, settings: Dkim) -> None:
        self._settings = settings
        self._loaded = {key.file: _load(key.file) for key in settings.keys}
        self._trouble: dict[Path, str] = {}
        self._signing = self._read_keys()
        self._keys = KeyRing(self._signing, settings.default_domain)
        for file in self._loaded:
            UNUSABLE.labels(str(file)).set(0)
        for reason in REASONS:
            UNSIGNED.labels(reason.reason)

    async def run(self) -> None:
        """Look at the files for ever."""
        while True:
            await asyncio.sleep(self._settings.reload_s)
            await self.refresh()

    async def refresh(self) -> bool:
        """Take changed keys for the messages to come; True when there were any. Unusable ones are logged.

        Files are read in a thread: reading may take long, and thousands of keys take seconds.
        """
        found = await asyncio.to_thread(self._changed)
        for file, loaded in found.items():
            if isinstance(loaded, str):
                self._keep(file, loaded)
                continue
            self._loaded[file] = loaded
            self._trouble.pop(file, None)
            UNUSABLE.labels(str(file)).set(0)
            log.info("DKIM key read", file=str(file))
        if found:
            self._signing = self._read_keys()
            self._keys = KeyRing(self._signing, self._settings.default_domain)
        return any(not isinstance(loaded, str) for loaded in found.values())

    def signing_keys(self) -> tuple[SigningKey, ...]:
        """The keys that sign now."""
        return self._signing

    def sign(self, message: Signable, added: Sequence[HeaderLine], now: datetime) -> tuple[HeaderLine, ...]:
        """The signatures of a message; `added` are the header lines that go above its content."""
        made = signatures(message, added, self._keys, now)
        if isinstance(made, Unsigned):
            UNSIGNED.labels(made.reason).inc()
            return ()
        SIGNED.inc()
        return made

    def _changed(self) -> dict[Path, _Loaded | str]:
        """What became of the files that changed, or could not be used: their keys, or why there are none."""
        found: dict[Path, _Loaded | str] = {}
        for file, known in self._loaded.items():
            if file not in self._trouble and stamp(file) == known.stamp:
                continue
            try:
                found[file] = _load(file)
            except Exception as error:
                found[file] = reason_of(error)
        return found

    def _keep(self, file: Path, why: str) -> None:
        self._trouble[file] = why
        UNUSABLE.labels(str(file)).set(1)
        log.warning("cannot use DKIM key, keeping previous", file=str(file), error=why, limited_by=(str(file), why))

    def _read_keys(self) -> tuple[SigningKey, ...]:
        keys = self._settings.keys
        return tuple([SigningKey(key.domain, key.selector, self._loaded[key.file].key) for key in keys])


@asynccontextmanager
async def signing(settings: Dkim) -> AsyncIterator[Signer | None]:
    """A signer while the block runs; None when there are no keys."""
    if not settings.keys:
        yield None
        return
    signer = await asyncio.to_thread(Signer, settings)
    watching = asyncio.create_task(signer.run(), name="dkim")
    try:
        yield signer
    finally:
        await end([watching])


def _load(file: Path) -> _Loaded:
    seen = stamp(file)
    return _Loaded(_read(file), seen)


def _read(file: Path) -> PrivateKey:
    """OSError when the file cannot be read, ValueError when it has no key that can sign."""
    with file.open("rb") as stream:
        return private_key(stream.read(_MOST_FILE_BYTES))
