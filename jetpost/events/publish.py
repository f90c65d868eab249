"""Publishes events without ever slowing mail.

Many events travel in one NATS message, as JSON lines: with fsync on every publish, a message for each event would cost
more than the mail it speaks of. What the stream cannot take in time is dropped and counted.
"""

import asyncio
import contextlib
from collections import deque
from typing import Annotated

from prometheus_client import Counter
from pydantic import Field

from jetpost.config.section import Section
from jetpost.events.record import Event, encode
from jetpost.jetstream.connection import JetStream
from jetpost.jetstream.errors import ApiError, Unreachable, answer_of
from jetpost.jetstream.streams import ensure
from jetpost.reason import reason_of
from jetpost.telemetry.best_effort import BestEffort
from jetpost.telemetry.log import logger

TOLD = Counter("jetpost_events_total", "Events to publish.")
DROPPED = Counter("jetpost_events_dropped_total", "Events dropped because the stream could not take them in time.")

STREAM = "EVENTS"
_MOST_A_MESSAGE = 500

log = logger(__name__)


class EventsSettings(Section):
    """The stream of events: what happened to every message."""

    enabled: bool = True
    """Whether events are published."""
    flush_s: Annotated[float, Field(gt=0)] = 0.2
    """How long events are gathered before they are published together."""
    buffer: Annotated[int, Field(ge=_MOST_A_MESSAGE)] = 50_000
    """Events that wait in memory while the stream cannot be reached; the oldest beyond that are dropped."""
    max_age_s: Annotated[float, Field(gt=0)] = 7 * 86400
    """How long events are kept."""
    max_bytes: Annotated[int, Field(ge=1024 * 1024)] = 1024 * 1024 * 1024
    """Bytes of events that are kept; the oldest go first."""
    replicas: Annotated[int, Field(ge=1, le=5)] = 1
    """Servers that keep the events."""


class Events:
    """What a process has to tell. `run` publishes it."""

    def __init__(self, jetstream: JetStream, settings: EventsSettings, service: str) -> None:
        self._jetstream = jetstream
        self._settings = settings
        self._subject = f"events.{service}"
        self._waiting: deque[Event] = deque()
        self._closing = asyncio.Event()
        self._telling: asyncio.Task[None] | None = None

    def tell(self, event: Event) -> None:
        """Take an event; never waits."""
        if not self._settings.enabled:
            return
        TOLD.inc()
        self._waiting.append(event)
        if len(self._waiting) > self._settings.buffer:
            self._waiting.popleft()
            DROPPED.inc()

    def begin(self) -> None:
        """Publish in a task of its own, which `aclose` waits for."""
        self._telling = asyncio.create_task(self.run(), name="events")

    async def run(self) -> None:
        """Publish what is told until closed; what is told by then still goes out."""
        if not self._settings.enabled:
            return
        await self._provision()
        is_closing = False
        while not is_closing:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.flush_s):
                    await self._closing.wait()
            is_closing = self._closing.is_set()
            try:
                await self._flush()
            except (Unreachable, ApiError) as error:
                log.warning("cannot publish events, will retry", error=reason_of(error), waiting=len(self._waiting))

    async def aclose(self) -> None:
        """Let `run` publish the rest and end; wait for that when `begin` has started it."""
        self._closing.set()
        if self._telling is not None:
            await asyncio.gather(self._telling, return_exceptions=True)

    async def _provision(self) -> None:
        """The stream is there before the first event, so that it can be followed from the beginning."""
        try:
            await provision(self._jetstream, self._settings)
        except (Unreachable, ApiError) as error:
            log.warning("event stream does not exist yet", error=reason_of(error))

    async def _flush(self) -> None:
        while self._waiting:
            count = min(len(self._waiting), _MOST_A_MESSAGE)
            events = [self._waiting[number] for number in range(count)]
            if lines := [line for event in events if (line := _line(event))]:
                await self._publish(b"\n".join(lines))
            # A flush that failed half-way is repeated: an event is told at least once.
            for event in events:
                if self._waiting and self._waiting[0] is event:
                    self._waiting.popleft()

    async def _publish(self, lines: bytes) -> None:
        try:
            # Where there is no room for the stream of events nobody answers, and mail goes on all the same.
            answer_of((await self._jetstream.request(self._subject, lines, may_be_missing=True)).data)
        except Unreachable:
            await self._provision()  # somebody may have deleted it
            raise


def _line(event: Event) -> bytes:
    """The event encoded; nothing for one that cannot be, which is dropped: the others must get through."""
    with BestEffort("event", event.queue_id):
        return encode(event)
    DROPPED.inc()
    return b""


async def provision(jetstream: JetStream, settings: EventsSettings) -> None:
    """Make the stream, or bring it to the settings. Repeatable."""
    wanted = {
        "name": STREAM,
        "subjects": ["events.*"],
        "retention": "limits",
        "storage": "file",
        "discard": "old",
        "num_replicas": settings.replicas,
        "max_age": int(settings.max_age_s * 1e9),
        "max_bytes": settings.max_bytes,
        "allow_direct": True,
    }
    await ensure(jetstream, wanted, "events", may_shrink=True)
