"""The dashboards hold together: they name metrics that exist, and Grafana can read them."""

import json
import re
from pathlib import Path

import pytest

from docs.dashboards.every import DASHBOARDS
from docs.dashboards.panel import Dashboard, alarm, grafana

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


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.name)
def test_it_has_a_picture(dashboard: Dashboard) -> None:
    assert Path(f"docs/howto/dashboards/{dashboard.name}.png").is_file(), "run `make pictures`"


def test_a_panel_is_red_where_its_alert_fires() -> None:
    assert (alarm("mail-waits"), alarm("storage-fills"), alarm("certificate-expires")) == (120, 0.8, 604800)
    red = {
        panel.title: next(value for value, hue in panel.thresholds if hue == "red")
        for dashboard in DASHBOARDS
        for row in dashboard.rows
        for panel in row
        if any(hue == "red" for _, hue in panel.thresholds)
    }
    assert red["Ready and waiting"] == alarm("mail-waits")
    assert red["Storage"] == alarm("storage-fills")
    assert red["Event loops"] == alarm("event-loop-is-blocked")


def test_a_dot_leads_to_the_log_lines_of_its_message() -> None:
    message = json.loads(grafana(next(each for each in DASHBOARDS if each.name == "message")))
    variables = {variable["name"]: variable["type"] for variable in message["templating"]["list"]}
    (logs,) = [panel for panel in message["panels"] if panel["type"] == "logs"]

    assert variables["queue_id"] == "textbox"
    assert "$queue_id" in logs["targets"][0]["expr"]
    assert logs["datasource"] == {"type": "loki", "uid": "${loki}"}
    assert variables["loki"] == "datasource"
    # Where the documents send a dot.
    page = Path("docs/howto/dashboards.md").read_text(encoding="utf-8")
    assert f"/d/{message['uid']}?var-queue_id=$${{__value.raw}}" in page


def test_names_are_unique() -> None:
    assert len({dashboard.uid for dashboard in DASHBOARDS}) == len(DASHBOARDS)
    assert len({dashboard.title for dashboard in DASHBOARDS}) == len(DASHBOARDS)
