"""The storage limit of a server that was started while its disk was full: values in, an answer out.

Without a limit of its own a nats-server takes 75 % of what is free when it starts, and of what it has stored, and keeps
that until its next start (`finalizeDynamicMaxStore`). So one that started on a full disk takes nothing for ever.
"""

from typing import NamedTuple

from jetpost.store.full_disk import Volume

_LEAST_BYTES = 64 * 1024 * 1024


class Full(NamedTuple):
    """What a full disk has left in a server that runs."""

    error: str
    has_room: bool
    """Whether there is room again: a restart ends it."""


def is_outgrown(limit: int, stored: int, volume: Volume) -> bool:
    """Whether the server takes nothing more for its `limit`, and would after a start now."""
    least = min(_LEAST_BYTES, volume.size // 10)
    anew = (volume.free_bytes + stored) * 3 // 4
    return limit - stored < least and anew - stored >= 2 * least
