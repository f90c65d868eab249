"""The state that a full disk leaves behind in nats-server: values in, an answer out.

After a write that found no room nats-server keeps the error: a lone server of the stream, one of a cluster by switching
JetStream off as a whole. Neither ends when there is room again; only a restart ends it.

A server of a cluster needs time to switch JetStream off (`Server.disableJetStream` of nats-server 2.15.3). The leader
of the metadata group first waits two seconds for its successor, and its streams go on meanwhile. A stream that misses
the message that found no room is reset: the server discards its copy, gets it from the others, and fills the disk
again. So for moments there is free space on a disk that is full.
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


def says_off(kept: str) -> bool:
    """Whether the error that a server keeps is that its JetStream is switched off, or is being switched off."""
    return kept.startswith(_OFF)


def is_off(account: Any, raft: Any) -> bool:
    """Whether JetStream is switched off as a whole, from the answers to `/accountz?acc=$G` and, after that, `/raftz`.

    Once an account has no JetStream, no stream is reset. Once no Raft group is left, no log becomes shorter.
    """
    detail = account.get("account_detail") if isinstance(account, dict) else None
    has_none = isinstance(detail, dict) and detail.get("jetstream_enabled") is False
    return has_none and isinstance(raft, dict) and not any(raft.values())


def has_room(volume: Volume) -> bool:
    """Whether a server that is restarted could write again for a while."""
    least = min(_LEAST_ROOM_BYTES, volume.size // 10)
    return volume.free_bytes >= least and (not volume.files or volume.free_files >= _LEAST_ROOM_FILES)
