"""Jetpost and Postfix under the same load, in turn: `python -m bench`."""

import argparse
import asyncio
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil
from rich.console import Console

from bench.jetpost_side import JetpostSide
from bench.load import Load
from bench.measure import Measured, Workload, measure, open_folder
from bench.postfix_side import postfix
from bench.report import show, title
from bench.side import Phase, Side, Way

_FOLDER = Path("/var/tmp")  # noqa: S108 — a disk by convention; each run makes a folder of its own in it
_IN_MEMORY = ("tmpfs", "ramfs")
_WIDTH = 120


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--messages", type=int, default=8000, help="messages of one measurement (default: %(default)s)")
    parser.add_argument("--repetitions", type=int, default=3, help="of each measurement (default: %(default)s)")
    parser.add_argument("--ingress", type=int, default=1, help="Jetpost's ingress processes (default: %(default)s)")
    parser.add_argument("--delivery", type=int, default=1, help="Jetpost's delivery processes (default: %(default)s)")
    parser.add_argument("--only", choices=["jetpost", "postfix"], help="measure one side alone")
    parser.add_argument("--phase", choices=[*Phase], help="measure one phase alone")
    parser.add_argument(
        "--way", nargs="+", choices=[*Way], default=[Way.PLAIN], help="how a relay sends (default: plain)"
    )
    parser.add_argument("--connections", choices=["new", "kept"], help="measure with one kind of sessions alone")
    parser.add_argument("--folder", type=Path, default=_FOLDER, help="for the queues (default: %(default)s)")
    parser.add_argument("--profile", type=Path, metavar="DIR", help="write flame graphs of ingress and delivery there")
    return parser.parse_args()


def _workloads(arguments: argparse.Namespace) -> list[Workload]:
    return [
        Workload(phase, Load(arguments.messages, kept=kept == "kept"), Way(way))
        for way in arguments.way
        for phase in ([*Phase] if way == Way.PLAIN else [Phase.RELAY])
        for kept in ("new", "kept")
        if arguments.phase in (None, phase) and arguments.connections in (None, kept)
    ]


def _sides(arguments: argparse.Namespace) -> list[Side]:
    jetpost = JetpostSide(arguments.ingress, arguments.delivery, arguments.profile)
    sides = [Side("Jetpost", jetpost.run), Side("Postfix", postfix)]
    return [side for side in sides if arguments.only in (None, side.name.lower())]


async def _compare(
    sides: Sequence[Side], workloads: Sequence[Workload], repetitions: int, folder: Path, console: Console
) -> dict[Workload, dict[str, list[Measured]]]:
    results: dict[Workload, dict[str, list[Measured]]] = {
        workload: {side.name: [] for side in sides} for workload in workloads
    }
    for _ in range(repetitions):
        for workload in workloads:
            for side in sides:
                measured = await measure(side, workload, folder)
                results[workload][side.name].append(measured)
                console.print(f"{title(workload):<50} {side.name:<8} {measured.rate:>7,.0f} msg/s")
    return results


def _file_system(folder: Path) -> str:
    mounted = [disk for disk in psutil.disk_partitions(all=True) if folder.is_relative_to(disk.mountpoint)]
    return max(mounted, key=lambda disk: len(disk.mountpoint)).fstype


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    console = Console(width=max(Console().width, _WIDTH))
    parent = arguments.folder.resolve()
    if (kind := _file_system(parent)) in _IN_MEMORY:
        raise SystemExit(f"{parent} is a {kind}: fsync means nothing there; choose another one with --folder")
    if arguments.profile is not None:
        arguments.profile.mkdir(parents=True, exist_ok=True)
    machine = f"{psutil.cpu_count()} cores; Python {platform.python_version()} ({sys.base_prefix})"
    console.print(f"{machine}; queues in {parent} ({kind}); {arguments.messages} messages of 2 KB")
    with open_folder(parent, "jetpost-bench") as folder:
        comparing = _compare(_sides(arguments), _workloads(arguments), arguments.repetitions, folder, console)
        show(asyncio.run(comparing), console)


if __name__ == "__main__":
    main()
