"""The dashboards hold together: they name metrics that exist, and Grafana can read them."""

import json
import re
from pathlib import Path

import pytest

from docs.dashboards.every import DASHBOARDS
from docs.dashboards.panel import Dashboard, grafana

_REFERENCE = Path("docs/reference/metrics.md")
_SUFFIX = re.compile(r"_(bucket|sum|count)$")


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.name)
def test_every_metric_is_a_documented_one(dashboard: Dashboard) -> None:
    documented = set(re.findall(r"`(jetpost_\w+)`", _REFERENCE.read_text(encoding="utf-8")))
    asked = {
        _SUFFIX.sub("", metric)
        for row in dashboard.rows
        for panel in row
        for query in panel.queries
        for metric in re.findall(r"\bjetpost_\w+", query.expression)
    }
    assert asked <= documented


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.name)
def test_panels_say_what_they_show_and_fill_their_rows(dashboard: Dashboard) -> None:
    panels = json.loads(grafana(dashboard))["panels"]

    assert all(panel["description"].endswith(".") for panel in panels)
    widths = {(panel["gridPos"]["y"], panel["gridPos"]["x"]): panel["gridPos"]["w"] for panel in panels}
    for y in {y for y, _ in widths}:
        assert sum(width for (row, _), width in widths.items() if row == y) == 24


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.name)
def test_thresholds_rise(dashboard: Dashboard) -> None:
    for row in dashboard.rows:
        for panel in row:
            assert list(panel.thresholds) == sorted(panel.thresholds, key=lambda threshold: threshold[0])


def test_names_are_unique() -> None:
    assert len({dashboard.uid for dashboard in DASHBOARDS}) == len(DASHBOARDS)
    assert len({dashboard.title for dashboard in DASHBOARDS}) == len(DASHBOARDS)
