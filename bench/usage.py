"""What processes cost: processor time and peak memory, by kind of process."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import psutil


class Usage(NamedTuple):
    """Of processes, by their kind."""

    cpu_s: Mapping[str, float]
    """User and system time. What ended children used counts for their parent's kind."""
    peak_bytes: Mapping[str, int]
    """The largest resident set that any process of the kind has had (VmHWM)."""
    number: Mapping[str, int]
    """Processes of the kind."""

    def since(self, before: "Usage") -> "Usage":
        """The processor time used since `before`."""
        return self._replace(cpu_s={kind: cpu - before.cpu_s.get(kind, 0) for kind, cpu in self.cpu_s.items()})


def usage(processes: Mapping[int, str]) -> Usage:
    """What `processes` (pid → kind) have used so far."""
    cpu_s: defaultdict[str, float] = defaultdict(float)
    peak: dict[str, int] = {}
    number: Counter[str] = Counter()
    for pid, kind in processes.items():
        try:
            times = psutil.Process(pid).cpu_times()
            peak[kind] = max(peak.get(kind, 0), _peak_bytes(pid))
        except (psutil.NoSuchProcess, FileNotFoundError):
            continue  # ended meanwhile: its parent has its time
        cpu_s[kind] += times.user + times.system + times.children_user + times.children_system
        number[kind] += 1
    return Usage(cpu_s, peak, number)


def _peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    # A process that is ending has no memory any more.
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0)
