"""The streams: what they must be."""

import re
from typing import Any

from jetpost.config.refused import Unsafe
from jetpost.jetstream.connection import JetStream
from jetpost.jetstream.streams import ends_at, ensure, stream_names
from jetpost.queue.integrity.board import board_stream
from jetpost.queue.integrity.made import RUNBOOK, Made
from jetpost.queue.model.states import State
from jetpost.queue.provision.settings import QueueSettings
from jetpost.queue.storage.shard import Shard

CONTENT_STREAM = "CONTENT"
LARGEST_RECORD_BYTES = 3 * 1024 * 1024
"""What is said about a message: a thousand recipients, and a kilobyte of answer for each, twice."""
_NUMBER = re.compile(r"[0-9]{1,9}")
_SHARD = re.compile(r"MAIL(-[1-9][0-9]*)?")
_BEYOND = 1 << 40
_MAX_CONSUMERS = 100_000
"""nats-server 2.15 limits a stream to 1 000 consumers unless told otherwise; every congested domain has one."""
_CONTENT_MARGIN_S = 30 * 86400
"""What is held for an operator has no expiry of its own; so long its content waits for one."""


async def provision(jetstream: JetStream, settings: QueueSettings) -> list[Shard]:
    """Make or complete the streams. Repeatable. Unsafe when an existing one cannot keep the promise."""
    _insist_on_room(jetstream, settings)
    await _insist_on_all_streams(jetstream)
    await _insist_on_all_shards(jetstream, settings.shards)
    shards = [Shard(number, jetstream) for number in range(settings.shards)]
    for shard in shards:
        await ensure(jetstream, _mail_stream(shard, settings), "queue")
    await ensure(jetstream, _content_stream(settings), "queue")
    await ensure(jetstream, board_stream(settings.replicas), "queue")
    # Not before all of them exist: what is listed has been there.
    names = [name for name in await stream_names(jetstream) if is_shard(name) or name in {CONTENT_STREAM, "EVENTS"}]
    await Made(jetstream).add(names)
    return shards


def _mail_stream(shard: Shard, settings: QueueSettings) -> dict[str, Any]:
    # No max_bytes and no max_age: with schedules the server only offers `discard: old`, which would drop mail.
    return {
        "name": shard.stream,
        "subjects": [f"{shard.prefix}.*.*.*"],
        "retention": "workqueue",
        "storage": "file",
        "num_replicas": settings.replicas,
        "max_consumers": _MAX_CONSUMERS,
        "duplicate_window": 120_000_000_000,
        "allow_atomic": True,
        "allow_msg_schedules": True,
        "allow_msg_ttl": True,
        "allow_direct": True,
        "allow_rollup_hdrs": True,
    }


def _content_stream(settings: QueueSettings) -> dict[str, Any]:
    return {
        "name": CONTENT_STREAM,
        "subjects": ["content.*.*.*"],
        "retention": "limits",
        "storage": "file",
        "num_replicas": settings.replicas,
        # The safety net under the references: content that a crash left behind goes after its message must be gone.
        "max_age": int((settings.lifetime_s + _CONTENT_MARGIN_S) * 1e9),
        "allow_direct": True,
    }


def _insist_on_room(jetstream: JetStream, settings: QueueSettings) -> None:
    needed = settings.inline_bytes + LARGEST_RECORD_BYTES
    if jetstream.nc.max_payload < needed:
        raise Unsafe(
            f"max_payload of nats-server is {jetstream.nc.max_payload}, an entry may have {needed} bytes: "
            "set it to 8MB, as far as queue.inline_bytes allows"
        )


async def _insist_on_all_streams(jetstream: JetStream) -> None:
    """A queue that was there does not start empty: Unsafe when a stream is missing that is listed, or was made."""
    if (lost := await Made(jetstream).lost()) is not None:
        raise Unsafe(lost)
    # Nothing is accepted before CONTENT exists, so this is no first start of somebody else.
    if await ends_at(jetstream, "MAIL") and await ends_at(jetstream, CONTENT_STREAM) is None:
        raise Unsafe(f"the queue has lost something: there is mail, and no stream {CONTENT_STREAM}: {RUNBOOK}")


async def _insist_on_all_shards(jetstream: JetStream, shards: int) -> None:
    """Nobody would take the mail of a stream beyond the last shard."""
    beyond = [
        int(number)
        for name in await stream_names(jetstream)
        if _NUMBER.fullmatch(number := name.removeprefix("MAIL-"))
        and int(number) >= shards
        and await entries_in(jetstream, name) > 0
    ]
    if beyond:
        names = ", ".join(f"MAIL-{number}" for number in sorted(beyond))
        raise Unsafe(
            f"queue.shards is {shards}, but there is mail in {names}: set it to {max(beyond) + 1} until it is gone"
        )


def is_shard(name: str) -> bool:
    """Whether a stream is one of those that mail is queued in."""
    return _SHARD.fullmatch(name) is not None


async def entries_in(jetstream: JetStream, name: str) -> int:
    """Entries of mail in a shard's stream; tombstones are none."""
    # Beyond the last page: how many they are is told, and none of them.
    tombstones = {"subjects_filter": f"{name.lower()}.{State.DONE.value}.>", "offset": _BEYOND}
    about = await jetstream.api(f"STREAM.INFO.{name}", tombstones)
    return int(about["state"]["messages"]) - int(about.get("total", 0))
