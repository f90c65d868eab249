"""Every query of every dashboard, asked of a real Prometheus that scrapes a system under traffic of all kinds."""

import math
import re
import time
from functools import partial

import pytest

from docs.dashboards.every import DASHBOARDS
from docs.dashboards.panel import Dashboard, Query
from tests.fixtures.chart import CHART, of_kind, render
from tests.fixtures.eventually import PATIENCE_S, eventually_asked
from tests.fixtures.watched import Watched, asked, queries

pytestmark = pytest.mark.timeout(300)  # the traffic has to be watched first

ZERO_WHEN_HEALTHY = {
    'max (jetpost_queue_waiting_seconds{namespace=~"$namespace", state="ready"})',
    'max (jetpost_queue_depth{namespace=~"$namespace", state="held"})',
    'max (jetpost_queue_replicas_behind{namespace=~"$namespace"})',
    'max (jetpost_queue_unsafe{namespace=~"$namespace"})',
    'sum (rate(jetpost_ingress_proxy_failures_total{namespace=~"$namespace"}[$__rate_interval]))',
    'sum (rate(jetpost_delivery_naks_total{namespace=~"$namespace"}[$__rate_interval]))',
    'sum (rate(jetpost_events_dropped_total{namespace=~"$namespace"}[$__rate_interval]))',
    'sum (increase(jetpost_nats_reconnects_total{namespace=~"$namespace"}[5m]))',
    'sum (increase(jetpost_queue_pulls_restarted_total{namespace=~"$namespace"}[5m]))',
}
"""What shows nothing but zero while all is well. Everything else has to move."""


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.name)
async def test_no_panel_is_without_data(watched: Watched, dashboard: Dashboard) -> None:
    for panel, query in queries(dashboard):
        # Some metrics are looked at once in a while only, and what they show may last for a moment.
        moves = partial(_moves, watched, query)
        await eventually_asked(moves, f"{panel.title} shows something: {query.expression}", within_s=2 * PATIENCE_S)


async def _moves(watched: Watched, query: Query) -> bool:
    values = [value for series in await watched.answers(query) for _, value in series.values if math.isfinite(value)]
    return any(values) or (bool(values) and query.expression in ZERO_WHEN_HEALTHY)


async def test_autoscaling_is_answered_by_prometheus(watched: Watched) -> None:
    """The queries of the chart's ScaledObject, word for word, find the queue and one number each."""
    settings = ("delivery.keda.enabled=true", 'delivery.keda.prometheus="http://prometheus:9090"')
    (scaled,) = of_kind(render(CHART / "ci/minimal.yaml", *settings), "ScaledObject")
    asked_of = [trigger["metadata"]["query"] for trigger in scaled["spec"]["triggers"]]

    assert len(asked_of) == 2
    for query in asked_of:
        (answer,) = await watched.prometheus.vector(query)
        assert answer.labels == {}
        assert answer.last >= 0
    deepest = await watched.prometheus.vector(asked_of[1].replace('state="ready"', 'state="retry"'))
    assert deepest[0].last > 0, "the same query, of a state in which there is mail"


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.name)
async def test_every_legend_names_labels_that_exist(watched: Watched, dashboard: Dashboard) -> None:
    for panel, query in queries(dashboard):
        wanted = set(re.findall(r"{{(\w+)}}", query.legend))
        for series in await watched.answers(query):
            assert wanted <= series.labels.keys(), f"{panel.title}: {query.expression}"
            assert wanted or not series.labels, f"{panel.title}: several lines and one legend: {query.expression}"


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.name)
async def test_dots_lead_to_messages(watched: Watched, dashboard: Dashboard) -> None:
    for panel, query in queries(dashboard):
        if panel.exemplars:
            found = await watched.prometheus.exemplars(asked(query.expression), watched.began, time.time())
            assert found, f"{panel.title} has no exemplars"
            assert all(labels["queue_id"] for labels in found)
