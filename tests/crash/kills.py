"""How long the runs are: `KILLS` in the environment says how often each kind of process is killed."""

import math
import os

FULL = 20
"""What `make soak` has."""
KILLS = int(os.environ.get("KILLS", "8"))


def share_of(full: int) -> int:
    """So many of what a full run has `full` of; at least one."""
    return max(1, math.ceil(full * KILLS / FULL))
