"""The keys that sign with DKIM, read again when their files change; and signatures made with them."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from prometheus_client import Counter, Gauge

from jetpost.dns.resolver import Dns
from jetpost.mail.header import HeaderLine
from jetpost.process.dkim.choice import signing_keys
from jetpost.process.dkim.files import Listed, Loaded, listed_or_why, load, loaded_or_why
from jetpost.process.dkim.records import EveryServer, is_shown
from jetpost.process.dkim.settings import MOST_KEYS_OF_A_DOMAIN, Dkim, held_of
from jetpost.sign.dkim import REASONS, Signable, Unsigned, signatures
from jetpost.sign.key_file import KeyName
from jetpost.sign.keys import KeyRing, SigningKey, public_bytes
from jetpost.sign.rotation import Held, Stage, asked_for, published, stages
from jetpost.tasks import end
from jetpost.telemetry.log import logger
from jetpost.watched import Stamp, stamp

SIGNED = Counter("jetpost_dkim_signed_total", "Messages that got DKIM signatures.")
UNSIGNED = Counter(
    "jetpost_dkim_unsigned_total",
    "Messages to be signed that got no signature. Labels: `reason` is author (From has no domain, or several), key"
    " (none for the author's domain), or header (too large, or too many fields).",
    ["reason"],
)
UNUSABLE = Gauge(
    "jetpost_dkim_key_unusable",
    "1 while the file of a key cannot be used, and its previous key signs, or none. Labels: `file`.",
    ["file"],
)
KEYS = Gauge(
    "jetpost_dkim_keys",
    "DKIM keys of this process. Labels: `state` is waiting (for its record in DNS), signs, or retired (another key has"
    " replaced it).",
    ["state"],
)

_MOST_LINES = 10
"""In the log, when many keys change at once."""
_STATES = {Stage.WAITS: "waiting", Stage.SIGNS: "signs", Stage.RETIRED: "retired"}

log = logger(__name__)


class _Looked(NamedTuple):
    """What became of the files."""

    folder: Listed | str | None
    """Why it cannot be read; None: there is no folder."""
    changed: dict[Path, Loaded | str]
    """The keys of files that changed, or could not be used before, or why there are none."""
    other: frozenset[Path]
    """Those of them that have another key than before."""


class _Chosen(NamedTuple):
    """What follows from files and DNS."""

    held: list[Held]
    stages: dict[tuple[str, str], Stage]
    asked: list[Held]
    """About these DNS is asked."""
    ring: KeyRing
    crowded: list[str]
    """Domains with more keys than verifiers look at."""


class Signer:
    """Signs messages with keys that follow their files, and their records while one replaces another."""

    def __init__(self, settings: Dkim) -> None:
        self._settings = settings
        self._loaded = {key.file: load(key.file) for key in settings.keys}
        self._fixed = frozenset(self._loaded)
        self._folder: dict[Path, KeyName] = {}
        self._trouble: dict[Path, tuple[str, Stamp | None]] = {}
        self._misnamed: frozenset[Path] = frozenset()
        self._shown: dict[tuple[str, str], bool] = {}
        self._changing = asyncio.Lock()
        for file in self._fixed:
            UNUSABLE.labels(str(file)).set(0)
        for reason in REASONS:
            UNSIGNED.labels(reason.reason)
        self._take(self._look())
        self._chosen = self._choose()
        self._adopt(self._chosen)

    async def run(self) -> None:
        """Look at the files for ever."""
        while True:
            await asyncio.sleep(self._settings.reload_s)
            await self.refresh()

    async def follow(self, dns: Dns) -> None:
        """Ask DNS for ever for the records of keys that are to replace others."""
        async with EveryServer(dns) as servers:
            while True:
                await asyncio.sleep(self._settings.rotation_s)
                await self.look_up(servers)

    async def refresh(self) -> bool:
        """Take changed keys for the messages to come; True when there were any. Unusable ones are logged.

        Files are read, and keys chosen, in a thread: reading may take long, and thousands of keys take seconds.
        """
        async with self._changing:
            is_changed = self._take(await asyncio.to_thread(self._look))
            if is_changed:
                self._adopt(await asyncio.to_thread(self._choose))
            return is_changed

    async def look_up(self, servers: EveryServer) -> None:
        """Ask all name servers for the records of keys that are to replace others. No answer changes nothing."""
        asked = self._chosen.asked
        findings = await servers.of_all([held.key for held in asked])
        async with self._changing:
            now = {_name(held.key): held.key.private for held in self._chosen.asked}
            shown = {name: it for name, it in self._shown.items() if name in now}
            for held, found in zip(asked, findings, strict=True):
                said = is_shown(found.values())
                if said is not None and now.get(_name(held.key)) is held.key.private:
                    shown[_name(held.key)] = said
            if shown != self._shown:
                self._shown = shown
                self._adopt(await asyncio.to_thread(self._choose))

    def published_keys(self) -> tuple[SigningKey, ...]:
        """The keys whose records must be in DNS now."""
        return tuple([it.key for it in published(self._chosen.held, self._chosen.stages)])

    def signs_for(self, author: str) -> tuple[str, ...]:
        """The domains (`d=`) of the signatures that a message of the domain `author` gets."""
        return tuple(dict.fromkeys([key.domain for key in self._chosen.ring.keys_for(author)]))

    def sign(self, message: Signable, added: Sequence[HeaderLine], now: datetime) -> tuple[HeaderLine, ...]:
        """The signatures of a message; `added` are the header lines that go above its content."""
        made = signatures(message, added, self._chosen.ring, now)
        if isinstance(made, Unsigned):
            UNSIGNED.labels(made.reason).inc()
            return ()
        SIGNED.inc()
        return made

    def _look(self) -> _Looked:
        """Read what has changed."""
        folder = listed_or_why(self._settings.folder, self._fixed) if self._settings.folder is not None else None
        files = folder.files if isinstance(folder, Listed) else self._folder
        changed: dict[Path, Loaded | str] = {}
        other: set[Path] = set()
        for file in (*self._fixed, *files):
            known = self._loaded.get(file)
            if known is None or file in self._trouble or stamp(file) != known.stamp:
                changed[file] = loaded = loaded_or_why(file)
                if known is None or isinstance(loaded, str) or public_bytes(known.key) != public_bytes(loaded.key):
                    other.add(file)
        return _Looked(folder, changed, frozenset(other))

    def _take(self, looked: _Looked) -> bool:
        """Whether there is a key that was not there before, or one less."""
        gone = self._take_folder(looked.folder)
        read = {file: loaded for file, loaded in looked.changed.items() if isinstance(loaded, Loaded)}
        self._keep({file: loaded for file, loaded in looked.changed.items() if isinstance(loaded, str)})
        # What DNS said was about another key.
        for source in self._settings.sources(self._folder):
            if source.file in looked.other and source.file in read:
                self._shown.pop((source.name.domain, source.name.selector), None)
        self._loaded |= read
        for number, file in enumerate(read):
            self._recovered(file)
            if number < _MOST_LINES:
                log.info("DKIM key read", file=str(file))
        if len(read) > _MOST_LINES:
            log.info("more DKIM keys read", keys=len(read) - _MOST_LINES)
        return gone or bool(read)

    def _take_folder(self, folder: Listed | str | None) -> bool:
        """Whether a key is gone from it."""
        if folder is None:
            return False
        path = self._settings.folder
        assert path is not None
        trouble = {path: folder} if isinstance(folder, str) else folder.trouble
        for file in self._misnamed - trouble.keys():
            self._recovered(file)
        self._keep(trouble)
        self._misnamed = frozenset(trouble)
        if isinstance(folder, str):
            return False
        gone = self._folder.keys() - folder.files.keys() - self._fixed
        for file in gone:
            self._recovered(file)
            self._loaded.pop(file, None)
        if gone:
            log.info("DKIM keys removed", keys=len(gone), file=str(min(gone)))
        self._folder = folder.files
        return bool(gone)

    def _keep(self, trouble: Mapping[Path, str]) -> None:
        """Go on without these files, or with what they had before. That is told once for each change of them."""
        news = []
        for file, why in trouble.items():
            told, self._trouble[file] = self._trouble.get(file), (why, stamp(file))
            if told != self._trouble[file]:
                UNUSABLE.labels(str(file)).set(1)
                news.append(file)
        for file in news[:_MOST_LINES]:
            why = trouble[file]
            kept = file in self._loaded or (file == self._settings.folder and bool(self._folder))
            event = "cannot use DKIM key, keeping previous" if kept else "cannot use DKIM key, there is no previous"
            log.warning(event, file=str(file), error=why, limited_by=(str(file), why))
        if len(news) > _MOST_LINES:
            log.warning("cannot use more DKIM keys", keys=len(news) - _MOST_LINES)

    def _recovered(self, file: Path) -> None:
        """There is nothing wrong with a file any more."""
        if file in self._fixed:
            UNUSABLE.labels(str(file)).set(0)
        elif file in self._trouble:
            UNUSABLE.remove(str(file))
        self._trouble.pop(file, None)

    def _choose(self) -> _Chosen:
        """Decide which keys sign."""
        sources = self._settings.sources(self._folder)
        held = [held_of(it, self._loaded[it.file]) for it in sources if it.file in self._loaded]
        found = stages(held, self._shown)
        keys, crowded = signing_keys(held, found)
        return _Chosen(held, found, asked_for(held), KeyRing(keys, self._settings.default_domain), crowded)

    def _adopt(self, chosen: _Chosen) -> None:
        """Sign with them from now on."""
        before, self._chosen = self._chosen.stages, chosen
        for domain in chosen.crowded[:_MOST_LINES]:
            most = MOST_KEYS_OF_A_DOMAIN
            log.warning("too many DKIM keys, others do not sign", domain=domain, most=most, limited_by=(domain,))
        states = list(chosen.stages.values())
        for stage, label in _STATES.items():
            KEYS.labels(label).set(states.count(stage))
        changed = [name for name, stage in chosen.stages.items() if before.get(name, stage) is not stage]
        for domain, selector in changed[:_MOST_LINES]:
            state = _STATES[chosen.stages[domain, selector]]
            log.info("DKIM key changed its state", domain=domain, selector=selector, state=state)


@asynccontextmanager
async def signing(settings: Dkim, dns: Dns) -> AsyncIterator[Signer | None]:
    """A signer while the block runs; None when there are no keys."""
    if not settings.keys and settings.folder is None:
        yield None
        return
    signer = await asyncio.to_thread(Signer, settings)
    with suppress(TimeoutError):  # Then it goes by the files, until DNS answers.
        async with asyncio.timeout(dns.lifetime_s), EveryServer(dns) as servers:
            await signer.look_up(servers)
    tasks = [
        asyncio.create_task(signer.run(), name="dkim"),
        asyncio.create_task(signer.follow(dns), name="dkim rotation"),
    ]
    try:
        yield signer
    finally:
        await end(tasks)


def _name(key: SigningKey) -> tuple[str, str]:
    return key.domain, key.selector
