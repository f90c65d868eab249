"""What the stream CONTENT holds, for who looks at it."""

from typing import NamedTuple

from jetpost.jetstream.connection import JetStream
from jetpost.jetstream.streams import about
from jetpost.queue.content.unneeded import by_content, keys_of, kind_of
from jetpost.queue.maintenance.sweep import every_shard
from jetpost.queue.provision.stream import CONTENT_STREAM

_PAGE = 100_000


class Contents(NamedTuple):
    """How much is kept by reference."""

    messages: int
    """Chunks and references, as nats-server counts them."""
    size: int
    contents: int
    unneeded: int
    """Contents without an entry: of messages that are arriving just now, or left for the sweep."""


async def contents(jetstream: JetStream) -> Contents:
    """What CONTENT holds, counted as the depth of the queue is. Unreachable or ApiError: nobody can say."""
    state = (await about(jetstream, CONTENT_STREAM))["state"]
    # The contents first: what ends meanwhile is without an entry, and what begins is not seen.
    listed = by_content(await _subjects(jetstream, CONTENT_STREAM, "content.*.*.*"))
    keys: set[str] = set()
    if listed:
        for shard in await every_shard(jetstream):
            for subject in await _subjects(jetstream, shard.stream, f"{shard.prefix}.*.*.*"):
                _, where, domain_token, queue_id = subject.split(".")
                if where != "done":
                    keys.add(f"mail.*.{domain_token}.{queue_id}")
    unneeded = sum(
        not any(key in keys for subject in subjects if kind_of(subject) == "ref" for key in keys_of(subject))
        for subjects in listed.values()
    )
    return Contents(int(state["messages"]), int(state["bytes"]), len(listed), unneeded)


async def _subjects(jetstream: JetStream, stream: str, wanted: str) -> list[str]:
    found: list[str] = []
    offset = 0
    while True:
        answer = await about(jetstream, stream, wanted, offset)
        found += answer["state"].get("subjects") or {}
        offset += _PAGE
        if offset >= answer.get("total", 0):
            return found
