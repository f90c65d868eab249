"""Follows the stream of events: from now on, or from a time in the past.

Messages are pulled. So a reader that is slower than the stream has the messages of one pull in memory, and the stream
keeps the rest. Events that the stream drops before they are read are logged, and the reader goes on after them.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from jetpost.events.publish import STREAM
from jetpost.events.record import Event, decode
from jetpost.jetstream.connection import JetStream
from jetpost.jetstream.errors import ApiError, Unreachable
from jetpost.reason import reason_of
from jetpost.telemetry.log import logger

MOST_A_PULL = 64
"""Messages in memory at most, each with up to 500 events."""
_SPARE_BYTES = 64 * 1024
"""Subject, headers and reply of a message: its payload alone may be as large as the server takes."""
_PULL_S = 5
_HEARTBEAT_S = 1
_SILENCE_S = 4.0
"""After so long without a sign the server has forgotten the pull."""
_INACTIVE_S = 60
"""So long the server keeps the consumer of a reader that has gone, or does not pull."""
_RETRY_S = 0.5

log = logger(__name__)


async def follow(jetstream: JetStream, since: datetime | None = None) -> AsyncIterator[Event]:
    """Every event, as it comes; with `since` (UTC) first those that are kept from then on. Ends when cancelled.

    Unreachable or ApiError when it cannot begin, as without a stream. Later it tries again until the server answers.
    """
    reader = _Reader(jetstream)
    await reader.begin(since)
    try:
        while True:
            for line in (await reader.next()).data.splitlines():
                if (event := decode(line)) is not None:
                    yield event
    finally:
        await reader.aclose()


class _Reader:
    """Reads each message of the stream once, in order, across reconnects and consumers that are lost."""

    def __init__(self, jetstream: JetStream) -> None:
        self._jetstream = jetstream
        self._consumer = ""
        self._generation = -1
        self._read = 0
        """The stream's sequence of the last message that was read."""
        self._delivered = 0
        """Messages that the consumer has delivered."""
        self._wanted = 0
        """Messages that the open pull may still bring."""
        self._inbox: Subscription | None = None

    async def begin(self, since: datetime | None) -> None:
        """Begin with the next message, or with the first one that was stored from `since` on."""
        start: dict[str, Any] = {"deliver_policy": "new"}
        if since is not None:
            start = {"deliver_policy": "by_start_time", "opt_start_time": since.astimezone(UTC).isoformat()}
        self._read = await self._create(start)

    async def next(self) -> Msg:
        """The next message. It waits for as long as there is none, and while no server answers."""
        while True:
            try:
                if not self._consumer or self._generation != self._jetstream.generation:
                    await self._resume()
                if self._wanted == 0:
                    await self._pull()
                assert self._inbox is not None
                message = await self._inbox.next_msg(_SILENCE_S)
            except (Unreachable, ApiError, NatsError, OSError) as error:  # TimeoutError is one
                log.warning("cannot read events, will retry", error=reason_of(error))
                self._consumer = ""
                await asyncio.sleep(_RETRY_S)
                continue
            if self._is_next(message):
                return message

    async def _create(self, start: dict[str, Any]) -> int:
        """Make a consumer that begins at `start`; the sequence before it."""
        self._generation = self._jetstream.generation
        config = {"ack_policy": "none", "inactive_threshold": int(_INACTIVE_S * 1e9), **start}
        answer = await self._jetstream.api(f"CONSUMER.CREATE.{STREAM}", {"stream_name": STREAM, "config": config})
        self._consumer = answer["name"]
        self._delivered = self._wanted = 0
        return int(answer["delivered"]["stream_seq"])

    async def _resume(self) -> None:
        """Make a consumer that begins after what was read; with the first message of a stream that was made again."""
        state = (await self._jetstream.api(f"STREAM.INFO.{STREAM}"))["state"]
        if state["last_seq"] < self._read:
            self._read = 0
        await self._create({"deliver_policy": "by_start_sequence", "opt_start_seq": self._read + 1})

    async def _pull(self) -> None:
        """Ask for messages, at an inbox of this pull alone: what is still said about an earlier one says nothing."""
        await self._unsubscribe()
        nc = self._jetstream.nc
        inbox = nc.new_inbox()
        self._inbox = await nc.subscribe(inbox)
        question = {
            "batch": MOST_A_PULL,
            "max_bytes": nc.max_payload + _SPARE_BYTES,
            "expires": int(_PULL_S * 1e9),
            "idle_heartbeat": int(_HEARTBEAT_S * 1e9),
        }
        self._wanted = MOST_A_PULL
        await nc.publish(
            f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{self._consumer}", json.dumps(question).encode(), reply=inbox
        )

    def _is_next(self, message: Msg) -> bool:
        """Whether it is the next message, or a status of the server, or a later message: one was lost on its way."""
        if not message.reply.startswith("$JS.ACK"):
            status = (message.headers or {}).get("Status")
            if status == "503":  # the consumer has gone
                self._consumer = ""
            if status != "100":  # a sign of life; any other status ends the pull
                self._wanted = 0
            return False
        sequence = message.metadata.sequence
        if sequence.consumer != self._delivered + 1:
            self._consumer = ""
            return False
        if sequence.stream > self._read + 1:
            log.error("events dropped before they were read", messages=sequence.stream - self._read - 1)
        self._read, self._delivered = sequence.stream, sequence.consumer
        self._wanted -= 1
        return True

    async def aclose(self) -> None:
        """Give back the inbox. The server deletes the consumer after a while."""
        if self._jetstream.connected:
            await self._unsubscribe()

    async def _unsubscribe(self) -> None:
        inbox, self._inbox = self._inbox, None
        if inbox is not None:
            with contextlib.suppress(NatsError, OSError):
                await inbox.unsubscribe()
