"""What an attacker is told on its command line: `NAME HOST PORT GROUP SECONDS`."""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class Arguments(NamedTuple):
    """Which attack, on what, and for how long."""

    name: str
    host: str
    port: int
    seconds: float


def joined(module: str, names: Iterable[str]) -> Arguments:
    """The arguments of `python -m module`, one of the attacks `names`; the process is in the control group from now on.

    GROUP is the group's `cgroup.procs`.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}")
    parser.add_argument("name", choices=[*names])
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("group", type=Path)
    parser.add_argument("seconds", type=float)
    told = parser.parse_args()
    told.group.write_text("0")
    return Arguments(told.name, told.host, told.port, told.seconds)
