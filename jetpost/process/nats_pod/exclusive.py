"""Run a program as the only one in a folder: `python -m jetpost.process.nats_pod.exclusive FOLDER PROGRAM…`.

A pod that is deleted by force, or lost sight of, may still run when its successor starts on the same volume: two
nats-servers that write to the same files destroy them. So the second waits until the first has ended, however that was:
the kernel takes a lock away from a process that is gone (flock(2)), and the program keeps it over exec.
"""

import fcntl
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

LOCK = ".in-use"


def main(folder: Path, program: list[str]) -> NoReturn:
    """Wait for the folder, then become the program."""
    # The first process of a container does not die of a signal unless it says so.
    signal.signal(signal.SIGTERM, _leave)
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"{folder} is in use by another process: waiting", file=sys.stderr, flush=True)  # noqa: T201
        fcntl.flock(lock, fcntl.LOCK_EX)
    os.set_inheritable(lock, True)  # noqa: FBT003 — as the standard library has it
    os.execvp(program[0], program)  # noqa: S606 — the program is ours to name


def _leave(_signal: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
