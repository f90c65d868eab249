"""Draws a dashboard from what Prometheus answered: the pictures of the documents. Grafana draws it nicer."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from docs.dashboards.panel import Dashboard, Panel, Unit

_INCHES_A_ROW = 2.4
_MOST_LINES = 10
_GREEN = "green"


class Line(NamedTuple):
    """One line of a panel."""

    legend: str
    points: Sequence[tuple[float, float]]
    """Unix time and value."""


Answers = Mapping[str, Sequence[Line]]
"""What each panel shows, by its title."""


def draw(dashboard: Dashboard, answers: Answers, file: Path) -> None:
    """Write the picture of a dashboard, a PNG."""
    mpl.use("agg")
    mpl.rcParams.update({"font.size": 7, "axes.titlesize": 8})
    figure = plt.figure(figsize=(13, _INCHES_A_ROW * len(dashboard.rows)), layout="constrained")
    figure.suptitle(dashboard.title, x=0.01, ha="left", fontsize=11, weight="bold")
    rows = figure.subfigures(len(dashboard.rows), 1, squeeze=False)
    for row, (place,) in zip(dashboard.rows, rows, strict=True):
        for panel, axes in zip(row, place.subplots(1, len(row), squeeze=False)[0], strict=True):
            axes.set_title(panel.title, loc="left")
            _DRAW[panel.kind](axes, panel, answers[panel.title])
    figure.savefig(file, dpi=90, format="png")
    plt.close(figure)


def told(value: float, unit: Unit) -> str:
    """A value with its unit, short."""
    if not math.isfinite(value):
        return "–"
    match unit:
        case "s":
            return next((f"{value / size:.3g} {name}" for size, name in _TIMES if value >= size), f"{value:.2g} s")
        case "bytes":
            return next((f"{value / size:.3g} {name}" for size, name in _SIZES if value >= size), f"{value:.0f} B")
        case "percentunit":
            return f"{value:.3%}" if 0 < value < 0.001 else f"{value:.0%}"
        case "ops":
            return f"{value:.3g}/s"
        case _:
            return f"{value:.4g}"


_TIMES = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"), (0.001, "ms"))
_SIZES = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def _timeseries(axes: Axes, panel: Panel, lines: Sequence[Line]) -> None:
    began = min((at for line in lines for at, _ in line.points), default=0)
    shown = sorted(lines, key=lambda line: line.legend)[:_MOST_LINES]
    if panel.stacked and shown:
        times = sorted({at for line in shown for at, _ in line.points})
        values = [[dict(line.points).get(at, 0) for at in times] for line in shown]
        labels = [line.legend for line in shown]
        axes.stackplot([at - began for at in times], values, labels=labels, alpha=0.6)
    else:
        for line in shown:
            axes.plot([at - began for at, _ in line.points], [value for _, value in line.points], label=line.legend)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: told(value, panel.unit)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f} s"))
    axes.grid(alpha=0.2)
    if any(line.legend for line in shown):
        axes.legend(fontsize=6, ncols=2, loc="upper left", framealpha=0.5)


def _bargauge(axes: Axes, panel: Panel, lines: Sequence[Line]) -> None:
    shown = sorted(lines, key=lambda line: line.points[-1][1])[-_MOST_LINES:]
    values = [line.points[-1][1] for line in shown]
    axes.barh([line.legend for line in shown], values, color=[_colour(panel, value) for value in values])
    for place, value in enumerate(values):
        axes.text(value, place, f" {told(value, panel.unit)}", va="center")
    axes.xaxis.set_visible(False)
    axes.margins(x=0.2)


def _stat(axes: Axes, panel: Panel, lines: Sequence[Line]) -> None:
    axes.axis("off")
    size = 20 if len(lines) == 1 else 12
    for number, line in enumerate(sorted(lines, key=lambda line: line.legend)):
        value = line.points[-1][1]
        y = 1 - (number + 0.6) / max(len(lines), 1)
        axes.text(0, y, told(value, panel.unit), fontsize=size, color=_colour(panel, value), va="center")
        axes.text(1, y, line.legend, fontsize=7, va="center", ha="right")


_DRAW: Mapping[str, Callable[[Axes, Panel, Sequence[Line]], Any]] = {
    "timeseries": _timeseries,
    "bargauge": _bargauge,
    "stat": _stat,
}


def _colour(panel: Panel, value: float) -> str:
    reached = [hue for at, hue in panel.thresholds if value >= at]
    return f"tab:{reached[-1] if reached else _GREEN}"
