"""Whether the servers keep our promise: new enough, and on disk before they answer."""

import asyncio

from prometheus_client import Gauge

from jetpost.config.refused import Unsafe
from jetpost.jetstream.connection import JetStream
from jetpost.jetstream.errors import Unreachable
from jetpost.queue.provision.monitoring import Silent, ask
from jetpost.queue.provision.settings import QueueSettings
from jetpost.reason import reason_of
from jetpost.telemetry.log import logger

UNSAFE = Gauge("jetpost_queue_unsafe", "1 while Jetpost runs although the queue's durability could not be established.")
UP = Gauge(
    "jetpost_nats_server_up", "1 while a nats-server answers at its monitoring URL. Labels: `server`.", ["server"]
)
STORED = Gauge("jetpost_nats_server_storage_bytes", "Bytes stored by a nats-server. Labels: `server`.", ["server"])
ROOM = Gauge("jetpost_nats_server_storage_limit_bytes", "Storage limit of a nats-server. Labels: `server`.", ["server"])
EXPIRES = Gauge(
    "jetpost_nats_server_certificate_expires_timestamp_seconds",
    "When the certificate that a nats-server shows at its `https` monitoring URL expires (Unix time). "
    "Labels: `server`.",
    ["server"],
)
OLDEST_SERVER = (2, 15, 3)
"""Older ones delete a whole stream when they cannot open one of its files at their start."""
OLDEST_PROTECTED_SERVER = (2, 15, 1)
"""Where somebody looks after the files before the server starts (`queue.store_protected`)."""
_UNKNOWN = "cannot know whether nats-server fsyncs before it acknowledges: name its monitoring URLs in nats.monitoring"
_AGAIN_S = 30.0
_MISSING_AGAIN_S = 5.0
_WAITING = "waiting until a nats-server tells whether it fsyncs before it acknowledges (nats.monitoring): {}"

log = logger(__name__)


class Durability:
    """What is known of the servers. One that is down is asked when it is back: a pod may start meanwhile."""

    def __init__(self, jetstream: JetStream, settings: QueueSettings) -> None:
        self._jetstream = jetstream
        self._settings = settings
        self._missing: set[str] = set()
        self.trouble: str | None = None
        """Why no mail may be accepted now, or None."""

    async def establish(self) -> None:
        """Unsafe unless every server that answers is new enough and fsyncs before it acknowledges.

        Unreachable while no server can be asked: it may be starting, and is to be asked again.
        With `queue.allow_unsafe_durability` it warns and shows `jetpost_queue_unsafe` instead.
        """
        doubts, silent = await self._doubts()
        UNSAFE.set(1 if doubts or silent else 0)
        if self._settings.allow_unsafe_durability:
            if doubts or silent:
                log.warning("unsafe durability allowed by configuration", doubts=[*doubts, *silent])
        elif doubts:
            raise Unsafe("; ".join(doubts) + " (queue.allow_unsafe_durability starts it all the same)")
        elif silent:
            raise Unreachable(_WAITING.format("; ".join(silent)))

    async def watch(self) -> None:
        """Ask again for ever: servers come back, and with another configuration."""
        while True:
            await asyncio.sleep(_MISSING_AGAIN_S if self._missing else _AGAIN_S)
            if not self._jetstream.connected:
                continue  # nobody accepts anything now
            definite, silent = await self._doubts()
            # Nobody answers: these are no servers that are down, the connection stands.
            doubts = [*definite, *silent]
            UNSAFE.set(1 if doubts else 0)
            unsafe = bool(doubts) and not self._settings.allow_unsafe_durability
            trouble = "; ".join(doubts) if unsafe else None
            if trouble and trouble != self.trouble:
                log.error("queue durability is unsafe", doubts=doubts)
            self.trouble = trouble

    async def _doubts(self) -> tuple[list[str], list[str]]:
        """What speaks against the servers; and why nobody can be asked, when that is so of all of them."""
        connected = self._jetstream.nc.connected_server_version
        oldest = OLDEST_PROTECTED_SERVER if self._settings.store_protected else OLDEST_SERVER
        doubts = _too_old((connected.major, connected.minor, connected.patch), "the connected nats-server", oldest)
        urls = self._jetstream.settings.monitoring
        if not urls:
            return [*doubts, _UNKNOWN], []
        answers = await asyncio.gather(*(self._asked(url, oldest) for url in urls))
        doubts += [doubt for answer in answers if isinstance(answer, list) for doubt in answer]
        missing = {url: answer for url, answer in zip(urls, answers, strict=True) if isinstance(answer, str)}
        if missing.keys() - self._missing:
            log.warning("nats-servers do not answer, will retry", servers=missing)
        self._missing = set(missing)
        silent = [f"cannot ask {url}: {reason}" for url, reason in missing.items()]
        return doubts, silent if len(missing) == len(urls) else []

    async def _asked(self, url: str, oldest: tuple[int, ...]) -> list[str] | str:
        """What speaks against the server that `url` monitors; or why it cannot be asked."""
        try:
            facts = await ask(url.rstrip("/"), self._jetstream.settings)
        except Silent as reason:
            UP.labels(url).set(0)
            return reason_of(reason)
        UP.labels(url).set(1)
        STORED.labels(url).set(facts.stored)
        ROOM.labels(url).set(facts.room)
        if facts.expires is not None:
            EXPIRES.labels(url).set(facts.expires)
        doubts = _too_old(_version(facts.version), f"nats-server at {url}", oldest)
        if not facts.syncs_always:
            doubts.append(f"{url}: `jetstream.sync_interval` is not `always`, so what got a 250 can be lost")
        return doubts


def _too_old(version: tuple[int, ...], who: str, oldest: tuple[int, ...]) -> list[str]:
    if version >= oldest:
        return []
    found, wanted = (".".join(map(str, numbers)) for numbers in (version, OLDEST_SERVER))
    harm = ": it deletes a stream when it cannot open one of its files at start" if version < OLDEST_SERVER else ""
    return [f"{who} is {found}{harm}; replace it by {wanted} or newer"]


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.lstrip("v").split("-")[0].split(".") if part.isdecimal())
