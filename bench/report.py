"""The tables."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from bench.measure import Measured, Workload, median
from bench.side import Way
from bench.usage import Usage

_MIB = 1024 * 1024


def show(results: Mapping[Workload, Mapping[str, Sequence[Measured]]], console: Console) -> None:
    """Print, for each workload, the medians of both sides and how they compare."""
    medians = {
        workload: {name: median(measured) for name, measured in sides.items()} for workload, sides in results.items()
    }
    console.print(_rates(medians, results))
    console.print(_processes(medians))


def _rates(
    medians: Mapping[Workload, Mapping[str, Measured]],
    results: Mapping[Workload, Mapping[str, Sequence[Measured]]],
) -> Table:
    table = Table("workload", title="Messages a second (median; lowest–highest), processor time a message")
    names = list(dict.fromkeys(name for sides in medians.values() for name in sides))
    for name in names:
        table.add_column(f"{name} msg/s", justify="right")
        table.add_column("CPU ms", justify="right")
    if len(names) == 2:
        table.add_column("ratio", justify="right", style="bold")
        table.add_column("CPU ratio", justify="right")
    for workload, sides in medians.items():
        cells = [title(workload)]
        for name in names:
            rates = [measured.rate for measured in results[workload][name]]
            cells += [f"{sides[name].rate:,.0f} ({min(rates):,.0f}–{max(rates):,.0f})", f"{sides[name].cpu_ms:.2f}"]
        if len(names) == 2:
            first, second = (sides[name] for name in names)
            cells += [f"{first.rate / second.rate:.2f}×", f"{first.cpu_ms / second.cpu_ms:.2f}×"]
        table.add_row(*cells)
    return table


def _processes(medians: Mapping[Workload, Mapping[str, Measured]]) -> Table:
    table = Table("workload", "side", title="By kind of process: number, processor time a message, peak memory of one")
    for heading in ("process", "number", "CPU ms", "peak MiB"):
        table.add_column(heading, justify="left" if heading == "process" else "right")
    for workload, sides in medians.items():
        for name, measured in sides.items():
            place = [title(workload), name]
            for kind in _by_cost(measured.usage):
                cpu_ms = 1000 * measured.usage.cpu_s[kind] / workload.load.messages
                peak = measured.usage.peak_bytes[kind] / _MIB
                table.add_row(*place, kind, str(measured.usage.number[kind]), f"{cpu_ms:.2f}", f"{peak:,.0f}")
                place = ["", ""]
            table.add_section()
    return table


def _by_cost(used: Usage) -> list[str]:
    return sorted(used.cpu_s, key=lambda kind: -used.cpu_s[kind])


_WAYS = {
    Way.PLAIN: "",
    Way.DKIM: " with DKIM",
    Way.TLS: " with verified TLS",
    Way.AUTH: " with verified TLS and AUTH",
}


def title(workload: Workload) -> str:
    """How a workload is called."""
    connections = "kept connections" if workload.load.kept else "a connection each"
    return f"{workload.phase}{_WAYS[workload.way]}, {connections}"
