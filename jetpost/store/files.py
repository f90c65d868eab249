"""Files of nats-server, read one by one: what cannot be read is told by the check, and is nothing here."""

import re
import stat
from pathlib import Path

BLOCK = re.compile(r"([0-9]{1,10})\.blk")
_LARGEST_CONFIGURATION = 1024 * 1024


def inside(folder: Path) -> list[Path]:
    """What is in a folder, in order; nothing when it cannot be read, or is none."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def size(path: Path) -> int:
    """Bytes of a file; 0 when it is none."""
    try:
        status = path.stat()
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def content(path: Path) -> bytes | None:
    """What a configuration or a checksum is; None: it cannot be read, which is told elsewhere."""
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST_CONFIGURATION)
    except OSError:
        return None


def holds_records(stream: Path) -> bool:
    """Whether anything was ever stored: a stream that was only begun may lack its configuration."""
    folders = (stream / "msgs", stream / "__new_msgs__")
    return any(size(path) for folder in folders for path in inside(folder) if BLOCK.fullmatch(path.name))
