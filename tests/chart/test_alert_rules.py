"""What the chart makes of the alerts: rules of one release, that look at its pods alone and lead to its runbooks."""

import re
from typing import Any

import pytest
import yaml

from tests.fixtures.chart import CHART, of_kind, refusal, render

pytestmark = pytest.mark.chart

MINIMAL = CHART / "ci/minimal.yaml"
FILES = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((CHART / "alerts").glob("*.yaml"))}
PODS = 'namespace="mail",pod=~"(jetpost-ingress|jetpost-delivery|jetpost-bouncer)-.+"'


def rules(*settings: str, release: str = "jetpost") -> dict[str, dict[str, Any]]:
    """The rendered rules by the names of their files."""
    (rule,) = of_kind(render(MINIMAL, "monitoring.alerts.enabled=true", *settings, release=release), "PrometheusRule")
    (group,) = rule["spec"]["groups"]
    return dict(zip(FILES, group["rules"], strict=True))


def test_every_alert_is_a_rule_and_nothing_but_its_pods_is_added() -> None:
    for name, rule in rules().items():
        asked = rule["expr"].replace(f"{{{PODS}}}", "").replace(f"{PODS},", "")
        labels = {key: value for key, value in rule["labels"].items() if key != "release"}
        assert {**rule, "expr": asked, "labels": labels} == FILES[name]


def test_each_metric_is_one_of_the_releases_own_pods() -> None:
    for name, rule in rules().items():
        metrics = re.findall(r"jetpost_[a-z_]+(?:{[^}]*})?", re.sub(r"\bby \([^)]*\)", "", rule["expr"]))
        assert metrics, name
        assert [metric for metric in metrics if PODS not in metric] == [], name


def test_two_releases_are_told_apart() -> None:
    one, other = rules(), rules(release="second")

    for name in FILES:
        assert one[name]["expr"] != other[name]["expr"]
        assert (one[name]["labels"]["release"], other[name]["labels"]["release"]) == ("jetpost", "second")


def test_a_runbook_is_a_file_of_ours_or_a_url_of_yours() -> None:
    assert {rule["annotations"]["runbook"] for rule in rules().values()} == {f"docs/runbooks/{it}.md" for it in FILES}
    assert not any("runbook_url" in rule["annotations"] for rule in rules().values())

    yours = rules('monitoring.alerts.runbooks="https://runbooks.example/mail/"')
    assert {rule["annotations"]["runbook_url"] for rule in yours.values()} == {
        f"https://runbooks.example/mail/{name}.md" for name in FILES
    }
    assert "runbooks" in refusal(MINIMAL, 'monitoring.alerts.runbooks="docs/runbooks/"')
