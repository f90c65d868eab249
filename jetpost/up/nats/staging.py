"""Where the embedded nats-server stages a batch before it commits it: in memory.

A nats-server of one replica stages each atomic batch in a file store of its own, synced several times, and then writes
and syncs the stream: of about 3 ms, 2 are for the staging, and only the last sync is what a 250 stands for. In memory
the staging survives the death of the server, which then completes a half-written batch from it as it would from disk.
A power cut takes it away; a batch that was being written then had no answer, and whoever asked asks again
(`docs/states.md`). A server with three replicas stages in memory by itself.

The link that is made here (`streams/<stream>/batches`) is nats-server's own layout, tested with the versions named
here. Any other version, or a machine without room in memory, stages on disk.
"""

import contextlib
import hashlib
import os
import shutil
import sys
from pathlib import Path

_MEMORY = Path("/dev/shm")  # noqa: S108 — memory by convention; the folder made in it is ours alone
_TESTED = frozenset({(2, 15, 1), (2, 15, 3)})
"""The versions of nats-server whose staging and recovery through the link were tested, with kills."""
_LEAST_FREE_BYTES = 256 * 1024 * 1024
"""Every process may have a batch of 4 MiB under way for each shard."""


def folder_in_memory(store: Path) -> Path | None:
    """The folder in memory for the server whose `store_dir` is `store`; None: there is no room for one."""
    if sys.platform != "linux" or not _MEMORY.is_dir():
        return None
    folder = _MEMORY / f"jetpost-{hashlib.sha256(os.fsencode(store.resolve())).hexdigest()[:16]}"
    with contextlib.suppress(OSError):
        room = os.statvfs(_MEMORY)
        if room.f_bavail * room.f_frsize >= _LEAST_FREE_BYTES:
            folder.mkdir(mode=0o700, exist_ok=True)
            if folder.stat().st_uid == os.getuid():
                return folder
    return None


def is_tested(version: tuple[int, ...]) -> bool:
    """Whether a nats-server of this version may stage in memory."""
    return version in _TESTED


def link(store: Path) -> None:
    """Let the server stage in memory. To be called again and again while it runs; never an error.

    At each start the server completes what it finds staged, and takes the link away. A folder on disk that holds a
    batch is left to it until the batch is committed.
    """
    memory = folder_in_memory(store)
    if memory is None:
        return
    for stream in (store / "jetstream" / "$G" / "streams").glob("MAIL*"):
        staged, batches = memory / stream.name, stream / "batches"
        if batches.is_symlink():
            continue
        with contextlib.suppress(OSError):
            if batches.exists():
                batches.rmdir()
            # What an earlier life of the server left here was completed, or cannot be reached any more.
            shutil.rmtree(staged, ignore_errors=True)
            staged.mkdir(mode=0o700)
            batches.symlink_to(staged)


def clear(store: Path) -> None:
    """Give the memory back, once the server has ended in peace."""
    memory = folder_in_memory(store)
    if memory is not None:
        shutil.rmtree(memory, ignore_errors=True)
