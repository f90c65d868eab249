"""What the chart does about what is in the cluster already: keep it, follow it, or refuse to harm it."""

import base64
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.chart import CHART, NAMESPACE, Manifest, named, of_kind, refusal, render
from tests.fixtures.kubernetes_api import serving

pytestmark = pytest.mark.chart

MINIMAL = CHART / "ci/minimal.yaml"
MADE = ("jetpost-nats-tls", "jetpost-nats-auth", "jetpost-ingress-tls")
"""Secrets that the chart draws by chance."""
WORKLOADS = {"jetpost-bouncer", "jetpost-delivery", "jetpost-ingress", "jetpost-nats"}


def secret(name: str, **data: str) -> Manifest:
    """A Secret of somebody else."""
    coded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": coded}


def workload(kind: str, name: str, replicas: int) -> Manifest:
    """A workload that somebody has scaled."""
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": {"replicas": replicas}}


def upgraded(folder: Path, found: list[Manifest], *settings: str) -> list[Manifest]:
    """What an upgrade in a cluster with these objects applies."""
    with serving(found, folder) as kubeconfig:
        return render(MINIMAL, *settings, kubeconfig=kubeconfig)


def pods(manifests: list[Manifest]) -> dict[str, Any]:
    """The pods of each workload: what differs is replaced."""
    return {it["metadata"]["name"]: it["spec"]["template"] for it in of_kind(manifests, "Deployment", "StatefulSet")}


def test_an_upgrade_keeps_what_was_drawn_and_replaces_no_pod(tmp_path: Path) -> None:
    first = upgraded(tmp_path, [])
    drawn = [named(first, "Secret", name) for name in MADE]

    second = upgraded(tmp_path, drawn)

    assert [named(second, "Secret", name)["data"] for name in MADE] == [each["data"] for each in drawn]
    assert pods(first) == pods(second)


def test_another_hostname_gets_another_certificate(tmp_path: Path) -> None:
    made = named(upgraded(tmp_path, []), "Secret", "jetpost-ingress-tls")

    other = named(upgraded(tmp_path, [made], 'hostname="other.example.org"'), "Secret", "jetpost-ingress-tls")

    assert other["data"]["tls.crt"] != made["data"]["tls.crt"]


@pytest.mark.parametrize(
    ("settings", "name", "replaced"),
    [
        (('nats.bundled.authSecret="mine"',), "mine", WORKLOADS),
        (('nats.bundled.tls.existingSecret="mine"',), "mine", WORKLOADS),
        (
            ("nats.bundled.enabled=false", 'nats.servers=["tls://nats:4222"]', 'nats.existingSecret="mine"'),
            "mine",
            WORKLOADS - {"jetpost-nats"},
        ),
    ],
)
def test_a_changed_secret_of_yours_replaces_the_pods_that_read_it(
    tmp_path: Path, settings: tuple[str, ...], name: str, replaced: set[str]
) -> None:
    before = pods(upgraded(tmp_path, [secret(name, password="old")], *settings))
    after = pods(upgraded(tmp_path, [secret(name, password="new")], *settings))

    assert {workload for workload in before if before[workload] != after[workload]} == replaced


def test_fewer_nats_servers_than_run_are_refused(tmp_path: Path) -> None:
    with serving([workload("StatefulSet", "jetpost-nats", 5)], tmp_path) as kubeconfig:
        assert "5 nats-servers run" in refusal(MINIMAL, "nats.bundled.replicas=3", kubeconfig=kubeconfig)
    with serving([workload("StatefulSet", "jetpost-nats", 3)], tmp_path) as kubeconfig:
        assert render(MINIMAL, "nats.bundled.replicas=5", kubeconfig=kubeconfig)


@pytest.mark.parametrize(
    "setting", ["delivery.replicas=null", "delivery.hpa.enabled=true", "delivery.keda.enabled=true"]
)
def test_replicas_that_others_decide_stay_as_they_are(tmp_path: Path, setting: str) -> None:
    found = [workload("Deployment", "jetpost-delivery", 17)]

    assert named(upgraded(tmp_path, found, setting), "Deployment", "jetpost-delivery")["spec"]["replicas"] == 17
    assert "replicas" not in named(upgraded(tmp_path, [], setting), "Deployment", "jetpost-delivery")["spec"]


def test_what_cert_manager_makes_has_another_name_than_what_helm_makes(tmp_path: Path) -> None:
    """Else Helm would not touch the one, and delete the other under cert-manager's hands."""
    issued = upgraded(tmp_path, [], "ingress.tls.certManager.enabled=true", "nats.bundled.tls.certManager=true")

    assert {it["spec"]["secretName"] for it in of_kind(issued, "Certificate")} == {
        "jetpost-ingress-tls-issued",
        "jetpost-nats-tls-issued",
        "jetpost-nats-ca",
    }
