"""Who reaches whom, as a network plugin would judge the policies: what is needed is open, the rest is closed."""

import ipaddress
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pytest

from tests.fixtures.chart import CHART, NAMESPACE, RELEASE, Manifest, is_selected, of_kind, render

pytestmark = pytest.mark.chart

MINIMAL = CHART / "ci/minimal.yaml"
MONITORING = (
    'networkPolicy.metricsFrom=[{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}},'
    ' {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "keda"}},'
    ' "podSelector": {"matchLabels": {"app": "operator"}}}]'
)


class End(NamedTuple):
    """One end of a connection: a pod, or an address outside."""

    labels: Mapping[str, str] = {}
    namespace: str = ""
    address: str = "203.0.113.9"


def ours(component: str) -> End:
    """A pod of the release."""
    instance = {"app.kubernetes.io/name": "jetpost", "app.kubernetes.io/instance": RELEASE}
    return End({**instance, "app.kubernetes.io/component": component}, NAMESPACE, "10.244.0.7")


OUTSIDE, NEIGHBOUR = End(), End({"app": "shop"}, NAMESPACE, "10.244.0.8")
PROMETHEUS, KEDA = End({"app": "prometheus"}, "monitoring", "10.244.0.9"), End({"app": "operator"}, "keda")


def reaches(policies: Sequence[Manifest], source: End, target: End, port: int, protocol: str = "TCP") -> bool:
    """Whether a connection is let out at its source and in at its target."""
    out = allowed(policies, "egress", source, target, port, protocol)
    return out and allowed(policies, "ingress", target, source, port, protocol)


def allowed(policies: Sequence[Manifest], way: str, subject: End, peer: End, port: int, protocol: str = "TCP") -> bool:
    """What the policies that select `subject` say; with none of them it is open."""
    mine = [
        policy["spec"]
        for policy in policies
        if policy["metadata"]["namespace"] == subject.namespace
        and is_selected(dict(subject.labels), policy["spec"]["podSelector"]["matchLabels"])
    ]
    rules = [rule for spec in mine for rule in spec[way]]
    peers = "to" if way == "egress" else "from"
    return not mine or any(
        {"port": port, "protocol": protocol} in rule["ports"]
        and (peers not in rule or any(_is(each, peer) for each in rule[peers]))
        for rule in rules
    )


def _is(selector: Mapping[str, Any], end: End) -> bool:
    if "ipBlock" in selector:
        return ipaddress.ip_address(end.address) in ipaddress.ip_network(selector["ipBlock"]["cidr"])
    of_namespace = selector.get("namespaceSelector", {}).get("matchLabels")
    home = {"kubernetes.io/metadata.name": end.namespace}
    lives = end.namespace == NAMESPACE if of_namespace is None else is_selected(home, of_namespace)
    return lives and is_selected(dict(end.labels), selector.get("podSelector", {}).get("matchLabels", {}))


SERVICES = ("ingress", "delivery", "bouncer")
OPEN = [
    *[(OUTSIDE, ours("ingress"), port) for port in (2587, 2465)],
    (NEIGHBOUR, ours("ingress"), 2587),
    # The test pod runs the doctor, which asks the nats-servers.
    *[(ours(each), ours("nats"), port) for each in (*SERVICES, "test") for port in (4222, 8222)],
    (ours("nats"), ours("nats"), 6222),
    (ours("delivery"), OUTSIDE, 25),
    (ours("test"), ours("ingress"), 2526),
    (ours("delivery"), ours("test"), 2525),
    (ours("test"), ours("test"), 2525),
    *[(PROMETHEUS, ours(service), 8080) for service in SERVICES],
    (PROMETHEUS, ours("nats"), 8222),
    (KEDA, ours("bouncer"), 8080),
    *[(ours(each), OUTSIDE, 53) for each in (*SERVICES, "nats", "test")],
]
CLOSED = [
    (OUTSIDE, ours("ingress"), 2526),
    (NEIGHBOUR, ours("ingress"), 2526),
    *[(who, ours(service), 8080) for who in (OUTSIDE, NEIGHBOUR) for service in SERVICES],
    *[(who, ours("nats"), port) for who in (OUTSIDE, NEIGHBOUR) for port in (4222, 6222, 8222)],
    (ours("test"), ours("nats"), 6222),
    (ours("ingress"), ours("nats"), 6222),
    (PROMETHEUS, ours("nats"), 4222),
    (End({"app": "prometheus"}, "elsewhere"), ours("ingress"), 8080),
    (End({"app": "other"}, "keda"), ours("bouncer"), 8080),
    (ours("ingress"), OUTSIDE, 25),
    (ours("bouncer"), OUTSIDE, 25),
    (ours("nats"), OUTSIDE, 443),
    (ours("delivery"), OUTSIDE, 443),
    (NEIGHBOUR, ours("test"), 2525),
    *[(who, ours("delivery"), 2525) for who in (OUTSIDE, NEIGHBOUR)],
]


def test_without_a_test_pod_nobody_has_its_way_to_nats() -> None:
    policies = of_kind(render(MINIMAL, "test.enabled=false"), "NetworkPolicy")

    assert not reaches(policies, ours("test"), ours("nats"), 4222)
    assert reaches(policies, ours("bouncer"), ours("nats"), 4222)


def test_what_is_needed_is_open_and_the_rest_is_closed() -> None:
    policies = of_kind(render(MINIMAL, MONITORING), "NetworkPolicy")

    assert [way for way in OPEN if not reaches(policies, *way)] == []
    assert [way for way in CLOSED if reaches(policies, *way)] == []
    assert reaches(policies, ours("delivery"), OUTSIDE, 53, "UDP")


def test_clients_and_destinations_are_the_networks_that_are_named() -> None:
    settings = ('networkPolicy.clients=["192.0.2.0/24"]', 'networkPolicy.destinations=["198.51.100.0/24"]')
    policies = of_kind(render(MINIMAL, *settings), "NetworkPolicy")

    assert reaches(policies, End(address="192.0.2.1"), ours("ingress"), 2587)
    assert not reaches(policies, OUTSIDE, ours("ingress"), 2587)
    assert reaches(policies, ours("delivery"), End(address="198.51.100.1"), 25)
    assert not reaches(policies, ours("delivery"), OUTSIDE, 25)


def test_the_hosts_of_routes_are_reached_on_their_ports() -> None:
    smart = {"kind": "hosts", "hosts": [{"host": "a.test", "port": 2500}, {"host": "b.test"}]}
    spare = {"kind": "hosts", "tls": "implicit", "hosts": [{"host": "c.test"}]}
    boxes = {
        "name": "c",
        "match": {"senders": ["y.test"]},
        "action": {"kind": "lmtp", "hosts": [{"host": "d.test"}]},
    }
    provider = {
        "name": "d",
        "match": {"senders": ["z.test"]},
        "action": {"kind": "hosts", "preset": "sendgrid", "auth": {"user": "apikey", "password_file": "/x"}},
    }
    other = {"name": "b", "match": {"senders": ["x.test"]}, "action": {"kind": "mx", "port": 26}}
    routes = [other, boxes, provider, {"name": "a", "action": smart, "fallback": spare}]
    policies = of_kind(render(MINIMAL, f"config.delivery.routes={json.dumps(routes)}"), "NetworkPolicy")

    for port in (2500, 25, 465, 26, 24, 587):
        assert reaches(policies, ours("delivery"), OUTSIDE, port)
        assert not reaches(policies, ours("ingress"), OUTSIDE, port)
    assert not reaches(policies, ours("delivery"), OUTSIDE, 143)


@pytest.mark.parametrize(("url", "port"), [(None, 443), ("https://i.test/t", 443), ("https://i.test:8443/t", 8443)])
def test_the_issuers_of_access_tokens_are_reached_on_their_ports(url: str | None, port: int) -> None:
    oauth = {"kind": "jwt_bearer", "key_file": "/x"} | ({"token_url": url} if url else {})
    action = {"kind": "hosts", "preset": "google-workspace", "auth": {"user": "a@b.test", "oauth": oauth}}
    routes = [{"name": "a", "action": action}]
    policies = of_kind(render(MINIMAL, f"config.delivery.routes={json.dumps(routes)}"), "NetworkPolicy")

    assert reaches(policies, ours("delivery"), OUTSIDE, port)
    assert not reaches(policies, ours("ingress"), OUTSIDE, port)
    assert not reaches(policies, ours("delivery"), OUTSIDE, 9443)


def test_name_servers_are_reached_on_every_port_that_is_named() -> None:
    named = 'config.dns.nameservers=["192.0.2.53", "192.0.2.54:5300", "[2001:db8::53]:5301"]'
    policies = of_kind(render(MINIMAL, named, "networkPolicy.dnsPorts=[53, 5353]"), "NetworkPolicy")

    for port in (53, 5353, 5300, 5301):
        for protocol in ("UDP", "TCP"):
            assert reaches(policies, ours("delivery"), OUTSIDE, port, protocol)
    assert not reaches(policies, ours("delivery"), OUTSIDE, 8053, "UDP")


def test_a_nats_of_ones_own_is_reached_on_the_ports_of_its_urls() -> None:
    servers = 'nats.servers=["nats://nats", "tls://[2001:db8::4]:4443"]'
    monitoring = 'nats.monitoring=["http://n0:8222/", "http://n1", "https://n2/nats", "https://n3:9443/nats"]'
    policies = of_kind(render(MINIMAL, "nats.bundled.enabled=false", servers, monitoring), "NetworkPolicy")

    for port in (4222, 4443, 8222, 80, 443, 9443):
        assert reaches(policies, ours("ingress"), OUTSIDE, port)
    assert not reaches(policies, ours("ingress"), OUTSIDE, 4444)
