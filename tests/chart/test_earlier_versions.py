"""An upgrade from each released chart, and a rollback to it, can be done: what cannot change in place is as it was.

`python -m tests.chart.test_earlier_versions` keeps what the chart renders now under its version: once a release.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fixtures.chart import CHART, Manifest, named, render

pytestmark = pytest.mark.chart

MINIMAL = CHART / "ci/minimal.yaml"
GOLDEN = Path(__file__).parent / "golden"
FIXED: dict[str, tuple[str, ...]] = {
    "Deployment": ("selector",),
    # Kubernetes lets ordinals, replicas, template, strategy, retention and minReadySeconds change, and nothing else.
    "StatefulSet": ("selector", "serviceName", "podManagementPolicy", "volumeClaimTemplates"),
    "Service": ("selector", "clusterIP", "type"),
}
"""What of a specification an update must not touch."""
KEPT = ("Service", "Secret", "StatefulSet", "Deployment")
"""Kinds whose objects are known by their names outside: to clients, to volumes, to `lookup`."""


@pytest.fixture(params=sorted(GOLDEN.glob("*.yaml")), ids=lambda path: path.stem)
def earlier(request: pytest.FixtureRequest) -> list[Manifest]:
    """What a released version rendered."""
    return list(yaml.safe_load_all(request.param.read_text(encoding="utf-8")))


def test_what_cannot_change_in_place_is_as_it_was(earlier: list[Manifest]) -> None:
    now = render(MINIMAL)
    for before in (each for each in earlier if each["kind"] in KEPT):
        kind, name = before["kind"], before["metadata"]["name"]
        after = named(now, kind, name)
        assert fixed(after) == fixed(before), f"{kind}/{name}"


def test_ports_that_clients_know_are_still_there(earlier: list[Manifest]) -> None:
    now = render(MINIMAL)
    for before in (each for each in earlier if each["kind"] == "Service"):
        after = named(now, "Service", before["metadata"]["name"])
        assert ports(before) <= ports(after)


def test_each_released_version_is_kept() -> None:
    assert [path.stem for path in GOLDEN.glob("*.yaml")], "there is none"


def fixed(manifest: Manifest) -> dict[str, Any]:
    """What an update must not touch."""
    return {key: manifest["spec"].get(key) for key in FIXED.get(manifest["kind"], ())}


def ports(service: Manifest) -> set[tuple[str, int]]:
    """The ports of a Service by their names."""
    return {(port["name"], port["port"]) for port in service["spec"]["ports"]}


def keep() -> None:
    """Write what the chart renders now, without what it drew by chance."""
    version = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))["version"]
    manifests = [{**each, "data": {}} if each["kind"] == "Secret" else each for each in render(MINIMAL)]
    GOLDEN.mkdir(exist_ok=True)
    (GOLDEN / f"{version}.yaml").write_text(yaml.safe_dump_all(manifests), encoding="utf-8")


if __name__ == "__main__":
    keep()
