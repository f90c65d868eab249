"""The streams: what they must be."""

import re
from typing import Any

from jetpost.jetstream.connection import ApiError, JetStream
from jetpost.queue.board import board_stream
from jetpost.queue.durability import Unsafe
from jetpost.queue.made import RUNBOOK, Made, ends_at
from jetpost.queue.settings import QueueSettings
from jetpost.queue.shard import Shard
from jetpost.queue.states import State

CONTENT_STREAM = "CONTENT"
LARGEST_RECORD_BYTES = 3 * 1024 * 1024
"""What is said about a message: a thousand recipients, and a kilobyte of answer for each, twice."""
_NOT_FOUND = 10059
_NUMBER = re.compile(r"[0-9]{1,9}")
_SHARD = re.compile(r"MAIL(-[1-9][0-9]*)?")
_BEYOND = 1 << 40
_DROPPING = ("max_bytes", "max_msgs", "max_msgs_per_subject", "max_age", "max_msg_size")
"""Limits at which a stream drops what it has, or takes no more of what it must."""
_MAX_CONSUMERS = 100_000
"""nats-server 2.15 limits a stream to 1 000 consumers unless told otherwise; every congested site has one."""
_CONTENT_MARGIN_S = 30 * 86400
"""What is held for an operator has no expiry of its own; so long its content waits for one."""


async def provision(jetstream: JetStream, settings: QueueSettings) -> list[Shard]:
    """Make or complete the streams. Repeatable. Unsafe when an existing one cannot keep the promise."""
    _insist_on_room(jetstream, settings)
    await _insist_on_all_streams(jetstream)
    await _insist_on_all_shards(jetstream, settings.shards)
    shards = [Shard(number, jetstream) for number in range(settings.shards)]
    for shard in shards:
        await _ensure(jetstream, _mail_stream(shard, settings))
    await _ensure(jetstream, _content_stream(settings))
    await _ensure(jetstream, board_stream(settings.replicas))
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
            f"max_payload of nats-server is {jetstream.nc.max_payload}, an entry may have {needed} octets: "
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


async def stream_names(jetstream: JetStream) -> list[str]:
    """The name of every stream. Unreachable or ApiError when nobody answers."""
    names: list[str] = []
    while True:
        page = await jetstream.api("STREAM.NAMES", {"offset": len(names)})
        names += page["streams"] or []
        if not page["streams"] or len(names) >= page["total"]:
            return names


def is_shard(name: str) -> bool:
    """Whether a stream is one of those that mail is queued in."""
    return _SHARD.fullmatch(name) is not None


async def entries_in(jetstream: JetStream, name: str) -> int:
    """Entries of mail in a shard's stream; tombstones are none."""
    # Beyond the last page: how many they are is told, and none of them.
    tombstones = {"subjects_filter": f"{name.lower()}.{State.DONE.value}.>", "offset": _BEYOND}
    about = await jetstream.api(f"STREAM.INFO.{name}", tombstones)
    return int(about["state"]["messages"]) - int(about.get("total", 0))


async def _ensure(jetstream: JetStream, wanted: dict[str, Any]) -> None:
    name = wanted["name"]
    try:
        existing = (await jetstream.api(f"STREAM.INFO.{name}"))["config"]
    except ApiError as error:
        if error.err_code != _NOT_FOUND:
            raise
        try:
            await jetstream.api(f"STREAM.CREATE.{name}", wanted)
        except ApiError:
            # Another process may have made it at the same moment, in which case it is there now.
            await jetstream.api(f"STREAM.INFO.{name}")
        return
    if lost := _shrunk(existing, wanted):
        raise Unsafe(f"stream {name}: {lost}")
    grown = {**existing, **wanted, "max_age": max(existing.get("max_age", 0), wanted.get("max_age", 0))}
    if grown != existing:
        await jetstream.api(f"STREAM.UPDATE.{name}", grown)


def _shrunk(existing: dict[str, Any], wanted: dict[str, Any]) -> str | None:
    """What of the safety of `existing` would be less in `wanted`, or is wrong already; None when nothing is."""
    if existing["num_replicas"] > wanted["num_replicas"]:
        return (
            f"it has {existing['num_replicas']} replicas, queue.replicas asks for {wanted['num_replicas']}: "
            f"set queue.replicas to {existing['num_replicas']}"
        )
    for key in ("retention", "storage"):
        if existing[key] != wanted[key]:
            return f"{key} is {existing[key]}, must be {wanted[key]}; it was not made by Jetpost"
    dropping = [limit for limit in _DROPPING if existing.get(limit, -1) > 0 and limit not in wanted]
    if dropping:
        return f"it has {', '.join(dropping)}, which would drop queued mail: remove that, and set queue.max_bytes"
    if existing.get("no_ack"):
        return "it has no_ack: nobody would know what is stored"
    return None
