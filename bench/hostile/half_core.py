"""A control group whose processes share half a core: what a stranger's machine can do is not what ours can."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PERIOD_US = 10_000
_QUOTA_US = 5_000
_LEAST_V1 = 2
_LEAST_V2 = 1
"""The smallest weight there is."""
_VERSION_1 = Path("/sys/fs/cgroup/cpu")
_VERSION_2 = Path("/sys/fs/cgroup")


@contextmanager
def half_core() -> Iterator[Path]:
    """The file into which a process writes `0` to join the group, which lasts as long as the block.

    A stranger's machine takes no processor away from ours: the group has it when nobody else wants it.

    SystemExit when the machine lets us make none: unlimited attackers would take the processor from whom they attack.
    """
    version_1 = (_VERSION_1 / "cpu.cfs_quota_us").exists()
    group = (_VERSION_1 if version_1 else _VERSION_2) / f"jetpost-hostile-{os.getpid()}"
    try:
        group.mkdir()
        if version_1:
            (group / "cpu.cfs_period_us").write_text(f"{_PERIOD_US}")
            (group / "cpu.cfs_quota_us").write_text(f"{_QUOTA_US}")
            (group / "cpu.shares").write_text(f"{_LEAST_V1}")
        else:
            (_VERSION_2 / "cgroup.subtree_control").write_text("+cpu")
            (group / "cpu.max").write_text(f"{_QUOTA_US} {_PERIOD_US}")
            (group / "cpu.weight").write_text(f"{_LEAST_V2}")
    except OSError as error:
        raise SystemExit(f"cannot make a control group for the attackers (it takes root): {error}") from None
    try:
        yield group / "cgroup.procs"
    finally:
        group.rmdir()
