"""Many stored messages by one question: a batched direct get (ADR-31 of NATS), which any replica may answer."""

import contextlib
import json
from typing import Any

from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from jetpost.jetstream.connection import JetStream
from jetpost.jetstream.errors import Unreachable
from jetpost.reason import reason_of

_MOST, _MOST_BYTES = 256, 4 * 1024 * 1024
_END = frozenset({"204", "404"})
"""The end of the batch, and nothing there. Any other status is no answer: 503 comes where no replica listens (yet)."""


async def page(jetstream: JetStream, stream: str, question: dict[str, Any]) -> list[Msg]:
    """What lies from `seq` on under `next_by_subj`, in order: at most `batch` messages and about `max_bytes`.

    Both have defaults. An empty page is what one replica says, and it may lag behind. Unreachable: no replica answers,
    or one stops in the middle.
    """
    asked = json.dumps({"batch": _MOST, "max_bytes": _MOST_BYTES, **question}).encode()
    try:
        return await _read(jetstream, stream, asked)
    except (NatsError, OSError) as error:  # also TimeoutError
        raise Unreachable(f"{stream} stopped answering: {reason_of(error)}") from error


async def _read(jetstream: JetStream, stream: str, asked: bytes) -> list[Msg]:
    nc = jetstream.nc
    inbox = nc.new_inbox()
    subscription = await nc.subscribe(inbox)
    found: list[Msg] = []
    last = "0"
    try:
        await nc.publish(f"$JS.API.DIRECT.GET.{stream}", asked, reply=inbox)
        while True:
            message = await subscription.next_msg(jetstream.settings.request_timeout_s)
            headers = message.headers or {}
            status = None if "Nats-Sequence" in headers else headers.get("Status")
            if status is not None and status not in _END:
                raise Unreachable(f"no replica of {stream} answers: status {status}")
            if headers.get("Nats-Last-Sequence", last) != last:
                raise Unreachable(f"an answer about {stream} came in part")
            if status is not None:
                return found
            found.append(message)
            last = headers["Nats-Sequence"]
    finally:
        with contextlib.suppress(NatsError, OSError):
            await subscription.unsubscribe()
