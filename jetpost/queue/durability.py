"""Whether the servers keep our promise: new enough, and on disk before they answer."""

import asyncio
import http.client
import json
import socket
import ssl
import urllib.request
from typing import Any
from urllib.parse import urlsplit

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
EXPIRES = Gauge(
    "jetpost_nats_server_certificate_expires_timestamp_seconds",
    "When the certificate that a nats-server shows at its `https` monitoring URL ceases to be valid (Unix time). "
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
_PATIENCE_S = 5

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
        oldest = OLDEST_PROTECTED_SERVER if self._settings.store_protected else OLDEST_SERVER
        doubts = _too_old((version.major, version.minor, version.patch), "the connected nats-server", oldest)
        urls = self._jetstream.settings.monitoring
        if not urls:
            return [*doubts, _UNKNOWN]
        # Read again each time: the files of a CA are renewed, too.
        tls = self._jetstream.settings.tls_context() or ssl.create_default_context()
        missing: dict[str, str] = {}
        for url in urls:
            try:
                doubts += await asyncio.to_thread(_doubts_about, url.rstrip("/"), tls, oldest)
                UP.labels(url).set(1)
            except (OSError, ValueError, http.client.HTTPException) as error:
                missing[url] = f"cannot ask {url}: {error}"
                UP.labels(url).set(0)
        if missing.keys() - self._missing:
            log.warning("servers do not answer, they are asked again", servers=sorted(missing))
        self._missing = set(missing)
        # Nobody answers: these are no servers that are down, the connection stands; the URLs are wrong or closed to us.
        return [*doubts, *missing.values()] if len(missing) == len(urls) else doubts


def _doubts_about(url: str, tls: ssl.SSLContext, oldest: tuple[int, ...]) -> list[str]:
    """What speaks against the server that `url` monitors. OSError, ValueError or HTTPException: it cannot be asked."""
    facts, about = _fetch(f"{url}/jsz?config=true", tls), _fetch(f"{url}/varz", tls)
    if url.startswith("https:"):
        EXPIRES.labels(url).set(_valid_until(url, tls))
    if facts.get("disabled"):
        # Also while a server starts or leaves: it answers here before and after it has its streams.
        raise ValueError("its JetStream does not run")
    STORED.labels(url).set(facts.get("storage", 0))
    ROOM.labels(url).set(facts.get("config", {}).get("max_storage", 0))
    doubts = _too_old(_version(str(about.get("version", "0.0.0"))), f"nats-server at {url}", oldest)
    if not facts.get("config", {}).get("sync_always", False):
        doubts.append(f"{url}: `jetstream.sync_interval` is not `always`, so what got a 250 can be lost")
    return doubts


def _too_old(version: tuple[int, ...], who: str, oldest: tuple[int, ...]) -> list[str]:
    if version >= oldest:
        return []
    found, wanted = (".".join(map(str, numbers)) for numbers in (version, OLDEST_SERVER))
    harm = ": it deletes a stream when it cannot open one of its files at start" if version < OLDEST_SERVER else ""
    return [f"{who} is {found}{harm}; replace it by {wanted} or newer"]


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.lstrip("v").split("-")[0].split(".") if part.isdigit())


def _valid_until(url: str, tls: ssl.SSLContext) -> float:
    """When the certificate that is shown there ceases to be valid (Unix time)."""
    place = urlsplit(url)
    with (
        socket.create_connection((place.hostname, place.port or 443), timeout=_PATIENCE_S) as plain,
        tls.wrap_socket(plain, server_hostname=place.hostname) as secured,
    ):
        shown: dict[str, Any] = secured.getpeercert() or {}
        return ssl.cert_time_to_seconds(shown["notAfter"])


def _fetch(url: str, tls: ssl.SSLContext) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=_PATIENCE_S, context=tls) as response:  # noqa: S310 — an operator's own
        answer: dict[str, Any] = json.load(response)
        return answer
