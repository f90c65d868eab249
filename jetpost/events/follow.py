"""Follows the stream of events: from now on, or from a time in the past."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from nats.aio.msg import Msg

from jetpost.events.publish import STREAM
from jetpost.events.record import Event, decode
from jetpost.jetstream.connection import JetStream

_FOR_EVER_S = 3600


async def follow(jetstream: JetStream, since: datetime | None = None) -> AsyncIterator[Event]:
    """Every event, as it comes; with `since` (UTC) first those that are kept from then on. Ends when cancelled."""
    messages: asyncio.Queue[Msg] = asyncio.Queue()
    inbox = jetstream.nc.new_inbox()
    subscription = await jetstream.nc.subscribe(inbox, cb=messages.put)
    config: dict[str, Any] = {
        "deliver_subject": inbox,
        "ack_policy": "none",
        "deliver_policy": "new",
        "inactive_threshold": int(_FOR_EVER_S * 1e9),
    }
    if since is not None:
        config |= {"deliver_policy": "by_start_time", "opt_start_time": since.astimezone(UTC).isoformat()}
    await jetstream.api(f"CONSUMER.CREATE.{STREAM}", {"stream_name": STREAM, "config": config})
    try:
        while True:
            message = await messages.get()
            for line in message.data.splitlines():
                if (event := decode(line)) is not None:
                    yield event
    finally:
        if jetstream.connected:
            await subscription.unsubscribe()
