"""The streams: what they must be."""

from typing import Any

from jetpost.jetstream import ApiError, JetStream
from jetpost.queue.durability import Unsafe
from jetpost.queue.settings import QueueSettings
from jetpost.queue.shard import Shard

CONTENT_STREAM = "CONTENT"
_NOT_FOUND = 10059
_MAX_CONSUMERS = 100_000
"""nats-server 2.15 limits a stream to 1 000 consumers unless told otherwise; every congested site has one."""
_CONTENT_MARGIN_S = 30 * 86400
"""What is held for an operator has no expiry of its own; so long its content waits for one."""


async def provision(jetstream: JetStream, settings: QueueSettings) -> list[Shard]:
    """Make or complete the streams. Repeatable. Unsafe when an existing one cannot keep the promise."""
    shards = [Shard(number, jetstream) for number in range(settings.shards)]
    for shard in shards:
        await _ensure(jetstream, _mail_stream(shard, settings))
    await _ensure(jetstream, _content_stream(settings))
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
    if wanted["retention"] == "workqueue" and (existing.get("max_bytes", -1) > 0 or existing.get("max_msgs", -1) > 0):
        return "it has max_bytes or max_msgs, which would drop queued mail: remove them and set queue.max_bytes"
    return None
