"""The state that a full disk leaves behind in nats-server: values in, an answer out.

After a write that found no room nats-server keeps the error: a lone server of the stream, one of a cluster by switching
JetStream off as a whole. Neither ends when there is room again; only a restart ends it.
"""

from typing import Any, NamedTuple

_NO_ROOM = ("no space left on device", "disk quota exceeded")
"""ENOSPC and EDQUOT, as Go has them."""
_OFF = "JetStream not enabled"
_LEAST_ROOM_BYTES = 64 * 1024 * 1024
"""More than what a write of the largest message and its record in a Raft log can fail for."""
_LEAST_ROOM_FILES = 1_000


class Volume(NamedTuple):
    """What statvfs(3) says of the store's volume."""

    size: int
    free_bytes: int
    """For this user."""
    files: int
    """0: the file system does not count them."""
    free_files: int


def kept_error(health: Any) -> str | None:
    """The error that a server keeps, from its answer to `/healthz?details=true`; None: it keeps none.

    Whatever else is wrong with it (no quorum, behind, a stream that is missing) is none of these.
    """
    errors = health.get("errors") if isinstance(health, dict) else None
    for error in errors if isinstance(errors, list) else []:
        text = str(error.get("error", "")) if isinstance(error, dict) else ""
        if text.startswith(_OFF) or any(reason in text for reason in _NO_ROOM):
            return text
    return None


def has_room(volume: Volume) -> bool:
    """Whether a server that is restarted could write again for a while."""
    least = min(_LEAST_ROOM_BYTES, volume.size // 10)
    return volume.free_bytes >= least and (not volume.files or volume.free_files >= _LEAST_ROOM_FILES)
