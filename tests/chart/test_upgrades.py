"""`helm upgrade` and rollback: a changed value changes what it should, and nothing that cannot be changed."""

import json
import shutil
from pathlib import Path

import pytest

from tests.fixtures.chart import CHART, Manifest, configuration, is_selected, named, of_kind, render, rendered

pytestmark = pytest.mark.chart

MINIMAL = CHART / "ci/minimal.yaml"
CHANCE = {"jetpost-nats-tls", "jetpost-nats-auth", "jetpost-ingress-tls"}
"""Secrets that are drawn when there is no cluster to keep them in."""
WORKLOADS = ["jetpost-bouncer", "jetpost-delivery", "jetpost-ingress", "jetpost-nats"]


def changed(*settings: str) -> list[str]:
    """The objects that differ when these settings are made, as kind/name."""
    before, after = objects(rendered(MINIMAL)), objects(render(MINIMAL, *settings))
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def objects(manifests: list[Manifest]) -> dict[str, str]:
    kept = [it for it in manifests if it["metadata"]["name"] not in CHANCE]
    return {f"{it['kind']}/{it['metadata']['name']}": json.dumps(it, sort_keys=True) for it in kept}


def templates(*settings: str) -> dict[str, str]:
    """The pods of each workload: what differs is rolled."""
    workloads = of_kind(render(MINIMAL, *settings), "Deployment", "StatefulSet")
    return {it["metadata"]["name"]: json.dumps(it["spec"]["template"], sort_keys=True) for it in workloads}


def rolled(*settings: str) -> list[str]:
    """The workloads whose pods are replaced."""
    before, after = templates(), templates(*settings)
    return sorted(name for name in before if before[name] != after[name])


def test_nothing_changes_by_itself() -> None:
    assert changed() == []


@pytest.mark.parametrize("service", ["ingress", "delivery", "bouncer"])
def test_scaling_touches_no_pod(service: str) -> None:
    assert changed(f"{service}.replicas=7") == [f"Deployment/jetpost-{service}"]
    assert rolled(f"{service}.replicas=7") == []


def test_configuration_rolls_the_services_and_not_the_queue() -> None:
    setting = "config.delivery.retry.first_s=61"

    assert "ConfigMap/jetpost-config" in changed(setting)
    assert rolled(setting) == ["jetpost-bouncer", "jetpost-delivery", "jetpost-ingress"]


def test_a_new_image_rolls_everything() -> None:
    assert rolled('image.tag="9.9.9"') == WORKLOADS
    assert rolled('nats.bundled.image="nats:2.15.3-alpine"') == ["jetpost-nats"]


def test_a_new_version_of_the_chart_alone_rolls_nothing(tmp_path: Path) -> None:
    other = tmp_path / "jetpost"
    shutil.copytree(CHART, other)
    about = other / "Chart.yaml"
    about.write_text(about.read_text().replace("\nversion: ", "\nversion: 9"))

    workloads = of_kind(render(MINIMAL, chart=other), "Deployment", "StatefulSet")

    assert workloads[0]["metadata"]["labels"]["helm.sh/chart"].startswith("jetpost-9")
    assert {
        it["metadata"]["name"]: json.dumps(it["spec"]["template"], sort_keys=True) for it in workloads
    } == templates()


def test_users_roll_nothing() -> None:
    setting = 'ingress.users={"me": "$argon2id$x"}'

    assert changed(setting) == ["Secret/jetpost-users"]


def test_a_changed_nats_configuration_rolls_the_nodes() -> None:
    assert rolled("nats.bundled.lameDuckSeconds=60") == ["jetpost-nats"]


def test_what_cannot_be_changed_is_the_same_for_all_values() -> None:
    """Selectors, the names behind volumes and addresses: an upgrade that changed them would fail, or lose the queue."""
    for example in sorted((CHART / "ci").glob("*.yaml")):
        for workload in of_kind(rendered(example), "Deployment", "StatefulSet"):
            name = workload["metadata"]["name"]
            assert name in WORKLOADS
            assert workload["spec"]["selector"]["matchLabels"] == {
                "app.kubernetes.io/name": "jetpost",
                "app.kubernetes.io/instance": "jetpost",
                "app.kubernetes.io/component": name.removeprefix("jetpost-"),
            }
            if workload["kind"] == "StatefulSet":
                assert workload["spec"]["serviceName"] == "jetpost-nats"
                assert [it["metadata"]["name"] for it in workload["spec"]["volumeClaimTemplates"]] == ["data"]


def test_autoscaled_replicas_are_left_alone() -> None:
    for setting in ("delivery.hpa.enabled=true", "delivery.keda.enabled=true"):
        assert "replicas" not in named(render(MINIMAL, setting), "Deployment", "jetpost-delivery")["spec"]


def test_every_nats_server_keeps_a_copy() -> None:
    settings = configuration(render(CHART / "ci/small.yaml"))

    assert (settings["queue"]["replicas"], settings["events"]["replicas"]) == (1, 1)
    assert configuration(rendered(MINIMAL))["queue"]["replicas"] == 3
    assert configuration(render(MINIMAL, "nats.bundled.replicas=5"))["queue"]["replicas"] == 5


def test_a_drain_of_nodes_leaves_a_quorum() -> None:
    manifests = rendered(MINIMAL)
    budget = named(manifests, "PodDisruptionBudget", "jetpost-nats")["spec"]
    nodes = named(manifests, "StatefulSet", "jetpost-nats")["spec"]

    assert (budget["maxUnavailable"], nodes["replicas"]) == (1, 3)
    assert is_selected(nodes["template"]["metadata"]["labels"], budget["selector"]["matchLabels"])
