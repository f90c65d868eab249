"""Under load: scale, kill, upgrade, roll back. Nothing is lost, and nobody drains anything by hand."""

from tests.cluster.conftest import values
from tests.cluster.mail import Sink
from tests.fixtures.kubernetes import PATIENCE_S, RELEASE, Namespace, until


def test_delivery_scales_from_one_to_five_and_back(namespace: Namespace, sink: Sink) -> None:
    with sink.under_load("scale", seconds=90) as load:
        namespace.scale("delivery", 5)
        namespace.scale("delivery", 1)
        account = load.account()
        print(f"\n1 → 5 → 1: {account}")  # noqa: T201 — the count is the result
        assert not account.lost
        assert not account.duplicates
        until(lambda: not load.depth(), "the queue is empty")


def test_a_delivery_pod_is_killed(namespace: Namespace, sink: Sink) -> None:
    with sink.under_load("kill", seconds=60) as load:
        (pod, *_) = namespace.objects("pods", "-l", "app.kubernetes.io/component=delivery")
        namespace.kubectl("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force")
        account = load.account()
        print(f"\na delivery pod is killed: {account}")  # noqa: T201 — the count is the result
        assert not account.lost
        # At most what it had in hand: its attempts at the one site.
        assert len(account.duplicates) <= 20


def test_nats_pods_are_killed(namespace: Namespace, sink: Sink) -> None:
    """By force, so that each comes back while its predecessor may still run on the same volume."""
    with sink.under_load("nats", seconds=90) as load:
        for number in range(3):
            namespace.kubectl("delete", "pod", f"{RELEASE}-nats-{number}", "--grace-period=0", "--force")
            namespace.kubectl("rollout", "status", f"statefulset/{RELEASE}-nats", f"--timeout={PATIENCE_S}s")
        account = load.account()
        print(f"\neach nats-server is killed: {account}")  # noqa: T201 — the count is the result
        assert not account.lost


def test_upgrade_and_rollback_under_load(namespace: Namespace, sink: Sink) -> None:
    changed = values(sink)
    changed["config"]["delivery"] = {"retry": {"first_s": 77}}
    changed["nats"]["bundled"]["podAnnotations"] = {"rolled": "yes"}
    with sink.under_load("upgrade", seconds=180) as load:
        namespace.install(changed)
        assert "first_s: 77" in namespace.kubectl("get", "configmap", f"{RELEASE}-config", "-o", "yaml")
        namespace.helm("rollback", RELEASE, "--wait", f"--timeout={PATIENCE_S}s")
        account = load.account()
        print(f"\nupgrade and rollback: {account}")  # noqa: T201 — the count is the result
        assert not account.lost
        assert not account.duplicates
    restarts = {
        f"{pod['metadata']['name']}/{status['name']}": status["restartCount"]
        for pod in namespace.objects("pods", "-l", f"app.kubernetes.io/instance={RELEASE}")
        for status in pod["status"]["containerStatuses"]
    }
    assert not any(restarts.values()), restarts
