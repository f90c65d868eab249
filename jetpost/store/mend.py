"""What a kill kept nats-server from writing, written before it starts."""

import os
from pathlib import Path

from jetpost.store.files import content, holds_records
from jetpost.store.head import is_whole, seal


def mend(store_dir: Path) -> list[str]:
    """Write the checksums that a kill kept nats-server from writing; the streams that have them now, by name.

    It writes a stream's configuration and then its checksum, and leaves a stream out whose two do not fit together. For
    a store that has no `faults`. OSError: it cannot be written to.
    """
    mended = []
    for stream in sorted((store_dir / "jetstream").glob("*/streams/[!.]*")):
        data = content(stream / "meta.inf")
        if data is None or not is_whole(stream.name, data) or not holds_records(stream):
            continue
        checksum = seal(stream.name, data)
        if content(stream / "meta.sum") != checksum:
            _replace(stream / "meta.sum", checksum)
            mended.append(stream.name)
    return mended


def _replace(path: Path, data: bytes) -> None:
    """Replace a file as a whole, as nats-server does; what a kill leaves beside it is overwritten the next time."""
    beside = path.with_name(f"{path.name}.tmp")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
