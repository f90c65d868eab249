"""The chart on a real cluster: `make cluster KUBECONFIG=… CLUSTER_IMAGE=repository:tag`."""

import secrets
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from jetpost.users import hashed
from tests.cluster.mail import Sink
from tests.fixtures.kubernetes import PATIENCE_S, CommandError, Namespace, missing
from tests.fixtures.users import PASSWORD, USER

CLUSTER_DOMAIN = "cluster.local"
SMALL = {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "2Gi"}}
"""A cluster for tests may be one small node."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder, and skip them where there is no cluster."""
    here = Path(__file__).parent
    reason = missing()
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.timeout(6 * PATIENCE_S))
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure comes with the situation in the cluster."""
    report = yield
    namespace = getattr(item, "funcargs", {}).get("namespace")
    if report.failed and isinstance(namespace, Namespace):
        try:
            report.sections.append(("cluster", namespace.situation()))
        except CommandError as error:
            report.sections.append(("cluster", str(error)))
    return report


def values(sink: Sink) -> dict[str, Any]:
    """An installation that takes mail for the sink from any pod, and for anybody from the user."""
    submission = {"host": "0.0.0.0", "submission": True, "require_auth": True}
    return {
        "hostname": f"jetpost-ingress.{sink.namespace.name}.svc.{CLUSTER_DOMAIN}",
        "clusterDomain": CLUSTER_DOMAIN,
        "ingress": {
            "resources": SMALL,
            "users": {USER: hashed(PASSWORD)},
            "service": {"ports": {"relay": 25}},
        },
        "nats": {"bundled": {"resources": SMALL}},
        "bouncer": {"resources": SMALL},
        "delivery": {"replicas": 1, "resources": SMALL},
        "config": {
            "ingress": {
                "listeners": [
                    {"name": "submission", "port": 2587, "tls": "starttls", **submission},
                    {"name": "submissions", "port": 2465, "tls": "implicit", **submission},
                    {"name": "relay", "port": 2525, "host": "0.0.0.0", "tls": "none", "domains": [sink.domain]},
                ]
            }
        },
    }


@pytest.fixture(scope="session")
def sink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sink]:
    """A namespace with a destination and Jetpost, all pods ready."""
    namespace = Namespace(f"jetpost-test-{secrets.token_hex(3)}", tmp_path_factory.mktemp("cluster"))
    namespace.create()
    try:
        sink = Sink(namespace, CLUSTER_DOMAIN)
        sink.start()
        namespace.install(values(sink))
        yield sink
        namespace.helm("uninstall", "jetpost", "--wait")
    finally:
        namespace.delete()


@pytest.fixture(scope="session")
def namespace(sink: Sink) -> Namespace:
    """Where Jetpost is installed."""
    return sink.namespace
