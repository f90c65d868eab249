"""Not a test of the suite: `make pictures` runs it to draw the dashboards of the documents from a live system."""

import re
from pathlib import Path

import pytest

from docs.dashboards.every import DASHBOARDS
from docs.dashboards.panel import Panel, Query
from docs.dashboards.picture import Line, draw
from docs.generate import DOCS
from tests.end_to_end.conftest import needs
from tests.fixtures.configuration import Surroundings
from tests.fixtures.prometheus import Series
from tests.fixtures.watched import watching
from tests.fixtures.zone import ServedZone

PICTURES = DOCS / "howto/dashboards"
WATCH_S = 120


@pytest.mark.timeout(WATCH_S * 3)
async def test_draw_every_dashboard(surroundings: Surroundings, names: ServedZone, tmp_path: Path) -> None:
    PICTURES.mkdir(exist_ok=True)
    async with watching(needs("prometheus"), surroundings, names, tmp_path, WATCH_S) as watched:
        for dashboard in DASHBOARDS:
            panels = [panel for row in dashboard.rows for panel in row]
            answers = {
                panel.title: [
                    line(panel, query, series) for query in panel.queries for series in await watched.answers(query)
                ]
                for panel in panels
            }
            draw(dashboard, answers, PICTURES / f"{dashboard.name}.png")


def line(panel: Panel, query: Query, series: Series) -> Line:
    """A line with its legend filled in."""
    legend = re.sub(r"{{(\w+)}}", lambda label: series.labels.get(label[1], ""), query.legend)
    return Line(legend if legend != panel.title else "", series.values)
