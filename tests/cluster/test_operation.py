"""Under load: scale, kill, upgrade, roll back. Nothing is lost, and nobody drains anything by hand."""

from tests.cluster.conftest import values
from tests.cluster.mail import Sink
from tests.fixtures.kubernetes import PATIENCE_S, RELEASE, Namespace, until

_DELIVERED = """
import re, urllib.request
told = urllib.request.urlopen("http://127.0.0.1:8080/metrics", timeout=10).read().decode()
print(sum(map(float, re.findall(r'^jetpost_delivery_recipients_total{outcome="delivered"} (.*)$', told, re.MULTILINE))))
"""


def test_delivery_scales_from_one_to_five_and_back(namespace: Namespace, sink: Sink) -> None:
    with sink.under_load("scale", seconds=60) as load:
        namespace.scale("delivery", 5)
        pods = until(lambda: five(namespace), "there are five")
        for pod in pods:
            until(lambda pod=pod: delivered(namespace, pod), f"{pod} delivers")  # type: ignore[misc] # bound now
        namespace.scale("delivery", 1)
        sent = len(load.accepted())
        until(lambda: len(load.accepted()) > sent, "the load goes on with one")
        account = load.account()
        print(f"\n1 → 5 → 1: {account}")  # noqa: T201 — the count is the result
        assert not account.lost
        assert not account.duplicates
        until(lambda: not load.depth(), "the queue is empty")


def five(namespace: Namespace) -> list[str]:
    """The names of the delivery pods when there are five."""
    found = [pod["metadata"]["name"] for pod in namespace.of_service("delivery")]
    return found if len(found) == 5 else []


def delivered(namespace: Namespace, pod: str) -> bool:
    """Whether a pod has delivered anything."""
    return float(namespace.kubectl("exec", pod, "-c", "delivery", "--", "python", "-c", _DELIVERED)) > 0


def test_a_delivery_pod_is_killed(namespace: Namespace, sink: Sink) -> None:
    with sink.under_load("kill", seconds=60) as load:
        (pod, *_) = namespace.of_service("delivery")
        namespace.kubectl("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force")
        account = load.account()
        print(f"\na delivery pod is killed: {account}")  # noqa: T201 — the count is the result
        assert not account.lost
        # At most what it had in hand: its attempts at the one domain.
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
    first, before = namespace.image, uids(namespace)
    with sink.under_load("upgrade", seconds=60) as load:
        namespace.install(changed, image=namespace.next_image)
        until(lambda: images(namespace) == {namespace.next_image}, "every pod runs the next image")
        between = uids(namespace)
        assert not between & before
        assert "first_s: 77" in namespace.kubectl("get", "configmap", f"{RELEASE}-config", "-o", "yaml")
        namespace.helm("rollback", RELEASE, "--wait", f"--timeout={PATIENCE_S}s")
        until(lambda: images(namespace) == {first}, "every pod runs the first image again")
        assert not uids(namespace) & between
        account = load.account()
        print(f"\nupgrade and rollback: {account}")  # noqa: T201 — the count is the result
        assert not account.lost
        assert not account.duplicates
    restarts = {
        f"{pod['metadata']['name']}/{status['name']}": status["restartCount"]
        for pod in namespace.of_release()
        for status in pod["status"]["containerStatuses"]
    }
    assert not any(restarts.values()), restarts


def images(namespace: Namespace) -> set[str]:
    """What the pods of the release run from, nats-servers included."""
    return {container["image"] for pod in namespace.of_release() for container in pod["spec"]["containers"]}


def uids(namespace: Namespace) -> set[str]:
    """What tells a pod from its successor, which may have the same name."""
    return {pod["metadata"]["uid"] for pod in namespace.of_release()}
