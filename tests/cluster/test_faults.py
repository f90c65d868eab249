"""Faults under load, every message counted: a server that hangs, a full disk, a damaged file, a second rendering.

The installation is made as by GitOps: rendered without a cluster, and applied. Its nats-servers have small volumes, and
are harmed from the node they run on.
"""

import os
import secrets
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.cluster import node_access
from tests.cluster.conftest import CLUSTER_DOMAIN, values
from tests.cluster.mail import Load, Sink
from tests.cluster.node_access import Volume
from tests.fixtures.chart import CHART, KUBERNETES
from tests.fixtures.kubernetes import PATIENCE_S, RELEASE, CommandError, Namespace, until

pytestmark = pytest.mark.skipif(bool(node_access.missing()), reason=str(node_access.missing()))

STATEFUL_SET = f"statefulset/{RELEASE}-nats"
SERVERS = tuple(f"{RELEASE}-nats-{number}" for number in range(3))
SMALL = {"size": "1Gi", "storageClass": "small"}


class Repository:
    """What somebody keeps in a repository: values that are rendered without a look at the cluster, and applied."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.values: dict[str, Any] = {**values(sink), "secrets": {"create": "job"}}
        self.values["nats"]["bundled"].update(storage=SMALL)
        self.values["config"]["events"] = {"max_bytes": 64 * 1024 * 1024}
        repository, _, tag = sink.namespace.image.rpartition(":")
        self.values["image"] = {"repository": repository, "tag": tag}

    def rendered(self, given: dict[str, Any]) -> str:
        """The manifests. CommandError: the chart refuses."""
        file = self.sink.namespace.folder / "gitops.yaml"
        file.write_text(yaml.safe_dump(given))
        options = ("--skip-tests", "--kube-version", KUBERNETES, "--values", str(file))
        return self.sink.namespace.helm("template", RELEASE, str(CHART), *options)

    def sync(self, **bundled: Any) -> None:
        """Change these values of the nats-servers, render, and apply."""
        self.values["nats"]["bundled"].update(bundled)
        self.sink.namespace.kubectl("apply", "-f", "-", stdin=self.rendered(self.values))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """The installation, every pod ready."""
    namespace = Namespace(f"jetpost-test-{secrets.token_hex(3)}", tmp_path_factory.mktemp("faults"))
    namespace.create()
    try:
        sink = Sink(namespace, CLUSTER_DOMAIN)
        sink.start()
        repository = Repository(sink)
        repository.sync()
        settled(namespace)
        yield repository
    finally:
        namespace.delete()


@pytest.fixture(scope="module")
def sink(repository: Repository) -> Sink:
    """Its destination."""
    return repository.sink


@pytest.fixture(scope="module")
def namespace(sink: Sink) -> Namespace:
    """Where it is."""
    return sink.namespace


def settled(namespace: Namespace) -> None:
    """Return when every workload is as it should be."""
    services = [f"deployment/{RELEASE}-{service}" for service in ("ingress", "delivery", "bouncer")]
    for workload in (STATEFUL_SET, *services):
        namespace.kubectl("rollout", "status", workload, f"--timeout={2 * PATIENCE_S}s")


def lives(namespace: Namespace) -> dict[str, tuple[str, int]]:
    """Which pods there are, and how often each has been restarted."""
    return {
        pod["metadata"]["name"]: (pod["metadata"]["uid"], pod["status"]["containerStatuses"][0]["restartCount"])
        for pod in namespace.of_release()
        if pod["metadata"]["labels"]["app.kubernetes.io/component"] != "secrets"
    }


def goes_on(load: Load) -> None:
    """Return when a hundred more messages got their 250."""
    sent = len(load.accepted())
    until(lambda: len(load.accepted()) > sent + 100, "mail flows")


def counted(load: Load, what: str) -> None:
    """Nothing is lost, and nothing comes twice: no process of delivery has been killed."""
    account = load.account()
    print(f"\n{what}: {account}")  # noqa: T201 — the count is the result
    assert not account.lost
    assert not account.duplicates


def test_a_second_rendering_changes_nothing(repository: Repository, namespace: Namespace, sink: Sink) -> None:
    with pytest.raises(CommandError, match="without access to the cluster"):
        repository.rendered({**repository.values, "secrets": {"create": "helm"}})
    before, kept = lives(namespace), drawn(namespace)
    assert {f"{RELEASE}-nats-auth-made", f"{RELEASE}-nats-tls-made"} <= kept.keys()
    with sink.under_load("again", seconds=20) as load:
        repository.sync()
        settled(namespace)
        goes_on(load)
        counted(load, "rendered and applied again")
    assert drawn(namespace) == kept
    assert lives(namespace) == before


def drawn(namespace: Namespace) -> dict[str, dict[str, str]]:
    """What each Secret has."""
    return {secret["metadata"]["name"]: secret["data"] for secret in namespace.objects("secrets")}


def test_an_update_takes_no_second_server_while_one_hangs(
    repository: Repository, namespace: Namespace, sink: Sink
) -> None:
    before = lives(namespace)
    hung, *others = SERVERS
    running = [node_access.server(namespace, pod) for pod in others]
    with sink.under_load("hang", seconds=20) as load:
        pid = node_access.server(namespace, hung)
        os.kill(pid, signal.SIGSTOP)
        try:
            repository.sync(podAnnotations={"rolled": "yes"})
            until(lambda: waiting(namespace, others, hung), "the next one waits")
            goes_on(load)
            assert [node_access.server(namespace, pod) for pod in others] == running
        finally:
            os.kill(pid, signal.SIGCONT)
        until(lambda: not lives(namespace).items() & {it: before[it] for it in SERVERS}.items(), "all are replaced")
        settled(namespace)
        counted(load, "an update while a nats-server hangs")
    assert all(lives(namespace)[pod] == before[pod] for pod in before.keys() - set(SERVERS))


def waiting(namespace: Namespace, pods: list[str], absent: str) -> bool:
    """Whether one of them says that it is asked to stop, and waits."""
    said = [line for pod in pods for line in namespace.kubectl("logs", pod, "-c", "nats", "--tail=-1").splitlines()]
    return any("is asked to stop and waits" in line and f"{absent} is absent" in line for line in said)


def test_a_full_disk_is_healed_when_it_has_room(repository: Repository, namespace: Namespace, sink: Sink) -> None:
    del repository
    before = lives(namespace)
    full = SERVERS[1]
    with sink.under_load("full", seconds=20) as load:
        volume = Volume(namespace, full)
        volume.fill()
        try:
            until(lambda: "no space left on device" in namespace.kubectl("logs", full, "-c", "nats"), "it is full")
            goes_on(load)
            assert lives(namespace) == before, "while there is no room it is left alone"
        finally:
            volume.make_room()
        until(lambda: lives(namespace)[full][1] > before[full][1], "it is restarted by its probe")
        settled(namespace)
        counted(load, "the disk of a nats-server is full")
    uid, restarts = before[full]
    assert lives(namespace) == {**before, full: (uid, restarts + 1)}


def test_a_pod_does_not_start_on_a_damaged_file(repository: Repository, namespace: Namespace, sink: Sink) -> None:
    del repository
    damaged = SERVERS[2]
    with sink.under_load("damage", seconds=20) as load:
        volume = Volume(namespace, damaged)
        os.kill(node_access.server(namespace, damaged), signal.SIGSTOP)
        block = volume.damage()
        namespace.kubectl("delete", "pod", damaged, "--grace-period=0", "--force")
        until(lambda: block in refused(namespace, damaged), f"{block} is named")
        assert "docs/runbooks/nats-server-is-down.md" in refused(namespace, damaged)
        goes_on(load)
        # As the runbook has it, while the two others are up.
        namespace.kubectl("delete", "persistentvolumeclaim", volume.claim, "--wait=false")
        namespace.kubectl("delete", "pod", damaged)
        settled(namespace)
        assert Volume(namespace, damaged).folder != volume.folder
        counted(load, "a file of a nats-server is damaged")


def refused(namespace: Namespace, pod: str) -> str:
    """Why its init container has ended, as `kubectl describe pod` shows it; empty when it has not."""
    (found,) = namespace.objects("pod", pod)
    (status,) = found["status"].get("initContainerStatuses", [{}])
    ends = [status.get(state, {}).get("terminated") for state in ("state", "lastState")]
    return "".join(end["message"] for end in ends if end and end["exitCode"] == 78)
