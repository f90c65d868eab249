"""Whether the servers keep our promise: new enough, and on disk before they answer."""

import asyncio
import json
import urllib.request
from typing import Any

import structlog
from prometheus_client import Gauge

from jetpost.jetstream import JetStream
from jetpost.queue.settings import QueueSettings

UNSAFE = Gauge("jetpost_queue_unsafe", "1 while Jetpost runs although the queue's durability could not be established.")
UP = Gauge(
    "jetpost_nats_server_up", "1 while a nats-server answers at its monitoring URL. Labels: `server`.", ["server"]
)
STORED = Gauge("jetpost_nats_server_storage_bytes", "Octets a nats-server has stored. Labels: `server`.", ["server"])
ROOM = Gauge("jetpost_nats_server_storage_limit_bytes", "Octets it may store. Labels: `server`.", ["server"])
OLDEST_SERVER = (2, 15, 1)
_UNKNOWN = "cannot know whether nats-server fsyncs before it acknowledges: name its monitoring URLs in nats.monitoring"
_AGAIN_S = 30.0
_MISSING_AGAIN_S = 5.0

log = structlog.get_logger(__name__)


class Unsafe(Exception):  # noqa: N818 — a state of the world, named as one
    """The queue would not keep what Jetpost promises."""


class Durability:
    """What is known of the servers. One that is down is asked when it is back: a pod may start meanwhile."""

    def __init__(self, jetstream: JetStream, settings: QueueSettings) -> None:
        self._jetstream = jetstream
        self._settings = settings
        self._missing: set[str] = set()
        self.trouble: str | None = None
        """Why no mail may be accepted now, or None."""

    async def establish(self) -> None:
        """Unsafe unless every server that answers is new enough and fsyncs before it acknowledges, and one answers.

        With `queue.allow_unsafe_durability` it warns and shows `jetpost_queue_unsafe` instead.
        """
        doubts = await self._doubts()
        UNSAFE.set(1 if doubts else 0)
        if not doubts:
            return
        if not self._settings.allow_unsafe_durability:
            raise Unsafe("; ".join(doubts) + " (queue.allow_unsafe_durability starts it all the same)")
        log.warning("unsafe durability allowed by configuration", doubts=doubts)

    async def watch(self) -> None:
        """Ask again for ever: servers come back, and with another configuration."""
        while True:
            await asyncio.sleep(_MISSING_AGAIN_S if self._missing else _AGAIN_S)
            if not self._jetstream.connected:
                continue  # nobody accepts anything now
            doubts = await self._doubts()
            UNSAFE.set(1 if doubts else 0)
            unsafe = bool(doubts) and not self._settings.allow_unsafe_durability
            trouble = "; ".join(doubts) if unsafe else None
            if trouble and trouble != self.trouble:
                log.error("the queue is not safe any more", doubts=doubts)
            self.trouble = trouble

    async def _doubts(self) -> list[str]:
        version = self._jetstream.nc.connected_server_version
        doubts = _too_old((version.major, version.minor, version.patch), "the connected nats-server")
        urls = self._jetstream.settings.monitoring
        if not urls:
            return [*doubts, _UNKNOWN]
        missing: dict[str, str] = {}
        for url in urls:
            try:
                doubts += await asyncio.to_thread(_doubts_about, url.rstrip("/"))
                UP.labels(url).set(1)
            except (OSError, ValueError) as error:
                missing[url] = f"cannot ask {url}: {error}"
                UP.labels(url).set(0)
        if missing.keys() - self._missing:
            log.warning("servers do not answer, they are asked again", servers=sorted(missing))
        self._missing = set(missing)
        # Nobody answers: these are no servers that are down, the connection stands; the URLs are wrong or closed to us.
        return [*doubts, *missing.values()] if len(missing) == len(urls) else doubts


def _doubts_about(url: str) -> list[str]:
    """What speaks against the server that `url` monitors. OSError or ValueError when it cannot be asked."""
    facts, about = _fetch(f"{url}/jsz?config=true"), _fetch(f"{url}/varz")
    if facts.get("disabled"):
        # Also while a server starts or leaves: it answers here before and after it has its streams.
        raise ValueError("its JetStream does not run")
    STORED.labels(url).set(facts.get("storage", 0))
    ROOM.labels(url).set(facts.get("config", {}).get("max_storage", 0))
    doubts = _too_old(_version(str(about.get("version", "0.0.0"))), url)
    if not facts.get("config", {}).get("sync_always", False):
        doubts.append(f"{url}: `jetstream.sync_interval` is not `always`, so what got a 250 can be lost")
    return doubts


def _too_old(version: tuple[int, ...], who: str) -> list[str]:
    if version >= OLDEST_SERVER:
        return []
    return [f"{who} is {'.'.join(map(str, version))}, older than {'.'.join(map(str, OLDEST_SERVER))}"]


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.lstrip("v").split("-")[0].split(".") if part.isdigit())


def _fetch(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 — an operator's own URL
        answer: dict[str, Any] = json.load(response)
        return answer
