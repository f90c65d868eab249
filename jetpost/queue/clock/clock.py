"""Our clock beside the servers': measured now and then, and corrected where it is wrong."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from prometheus_client import Gauge

from jetpost.jetstream.connection import JetStream
from jetpost.jetstream.errors import ApiError, Unreachable
from jetpost.jetstream.kv import time_of
from jetpost.jetstream.streams import about
from jetpost.queue.clock.server_time import Answer, Reading, agreed, ahead, corrected, doubt, is_sound, spread
from jetpost.queue.provision.monitoring import Silent, ask_time
from jetpost.queue.provision.settings import QueueSettings
from jetpost.queue.provision.stream import CONTENT_STREAM
from jetpost.reason import reason_of
from jetpost.telemetry.log import logger

OFFSET = Gauge(
    "jetpost_clock_offset_seconds",
    "How far the clock of this process is ahead of the servers' time, as far as that is certain; negative: behind.",
)
OF_SERVER = Gauge(
    "jetpost_nats_server_clock_offset_seconds",
    "How far the clock of a nats-server is ahead of what the servers agree on. Labels: `server`.",
    ["server"],
)
_EVERY_S = 15.0
_AGAIN_S = 2.0
_FRESH_S = 60.0
"""What is older says too little to bounce mail by."""

log = logger(__name__)


class Clock:
    """What time it is, and whether that can be trusted."""

    def __init__(
        self,
        jetstream: JetStream,
        settings: QueueSettings,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._jetstream = jetstream
        self._tolerance_s = settings.clock_tolerance_s
        self._wall = wall
        self._monotonic = monotonic
        self._reading: Reading | None = None
        self._told = False

    def now(self) -> datetime:
        """The time: ours while it can be trusted, otherwise what the servers' is by their last word."""
        wall, monotonic = self._wall(), self._monotonic()
        if self._reading is not None and not is_sound(self._reading, wall, monotonic, self._tolerance_s):
            wall = corrected(self._reading, monotonic)
        return datetime.fromtimestamp(wall, UTC)

    def trouble(self) -> str | None:
        """Why our clock cannot be trusted, or None."""
        return doubt(self._reading, self._wall(), self._monotonic(), self._tolerance_s)

    def may_expire(self) -> bool:
        """Whether mail may be given up for its age: our clock was found right a moment ago, and not set since."""
        reading = self._reading
        return reading is not None and self._monotonic() - reading.monotonic <= _FRESH_S and self.trouble() is None

    async def watch(self) -> None:
        """Measure for ever: a clock may be set, and a machine may be suspended."""
        while True:
            await asyncio.sleep(_EVERY_S if self._reading is not None and self.trouble() is None else _AGAIN_S)
            try:
                await self.measure()
            except (Unreachable, ApiError) as error:
                log.debug("cannot read the servers' time", error=reason_of(error))

    async def measure(self) -> None:
        """Ask the servers what time it is. Unreachable or ApiError: nobody can say, and the last reading stays."""
        answers = await self._monitored() or {"": await self._asked(self._of_leader())}
        offset_s, uncertainty_s = agreed(list(answers.values()))
        wall, monotonic = self._wall(), self._monotonic()
        self._reading = Reading(offset_s, uncertainty_s, wall, monotonic)
        OFFSET.set(ahead(self._reading, wall, monotonic))
        for url, seconds in zip(answers, spread(list(answers.values())), strict=True):
            if url:
                OF_SERVER.labels(url).set(seconds)
        self._tell()

    def _tell(self) -> None:
        trouble = self.trouble()
        if trouble is not None and not self._told:
            log.error("clock is wrong: no mail is accepted or expired", reason=trouble)
        elif trouble is None and self._told:
            log.info("clock is correct again")
        self._told = trouble is not None

    async def _monitored(self) -> dict[str, Answer]:
        """What each server says that answers at its monitoring URL."""
        settings = self._jetstream.settings

        async def one(url: str) -> Answer | None:
            try:
                return await self._asked(ask_time(url.rstrip("/"), settings))
            except Silent:
                return None

        answers = await asyncio.gather(*map(one, settings.monitoring))
        return {url: answer for url, answer in zip(settings.monitoring, answers, strict=True) if answer is not None}

    async def _of_leader(self) -> datetime:
        return time_of((await about(self._jetstream, CONTENT_STREAM))["ts"])

    async def _asked(self, question: Awaitable[datetime]) -> Answer:
        # By the clock that nobody sets: one that is set in between would look like a wrong server.
        before, began = self._wall(), self._monotonic()
        server = (await question).timestamp()
        return Answer(before, server, before + (self._monotonic() - began))
