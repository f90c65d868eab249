"""Wrong values are refused before anything is applied, in words that name the value."""

import json

import pytest

from tests.fixtures.chart import CHART, refusal, render

pytestmark = pytest.mark.chart

MINIMAL = CHART / "ci/minimal.yaml"
LISTENER = '{"name": "relay", "host": "0.0.0.0", "port": 2525, "tls": "starttls"}'


def listeners(old: str = "", new: str = "") -> str:
    """A setting of one listener, changed."""
    return f"config.ingress.listeners=[{LISTENER.replace(old, new)}]"


def relaying(*networks: str) -> str:
    """A setting of one listener that takes mail to anybody from these networks."""
    return listeners("}", f', "relay_networks": {json.dumps(networks)}}}')


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (('hostname=""',), "hostname"),
        (('hostnames="typo"',), "hostnames"),
        (("ingress.replica=3",), "replica"),
        (('ingress.replicas="three"',), "ingress.replicas"),
        (("config.delivery.retry.frist_s=3",), "frist_s"),
        (("config.delivery.lanes.connections_per_site=5",), "renamed to config.delivery.lanes.connections_per_domain"),
        (("config.queue.shards=0",), "shards"),
        (('config.queue.shards="many"',), "shards"),
        (("config.nats.servers=[]",), "nats"),
        (('config.ingress.listeners=[{"name": "A B", "port": 1}]',), "name"),
        (('nats.servers=["nats://nats:4222"]',), "nats.bundled.enabled=false"),
        (("nats.bundled.enabled=false",), "nats.servers"),
        (("nats.bundled.replicas=2",), "nats.bundled.replicas"),
        (('nats.bundled.storage.size="20"',), "size"),
        (('nats.bundled.storage.size="0Gi"',), "size"),
        (('nats.bundled.storage.maxFileStore="20GB"',), "nats.bundled.storage.maxFileStore: 20GB do not fit"),
        (('nats.bundled.storage.maxFileStore="19500MB"',), "leave it empty, or give less than 19456 MB"),
        (('nats.bundled.storage.maxFileStore="1TB"',), "do not fit on a volume of 20Gi"),
        (('nats.bundled.storage.size="10Gi"', 'nats.bundled.storage.maxFileStore="18GB"'), "on a volume of 10Gi"),
        (('nats.bundled.storage.size="10G"', 'nats.bundled.storage.maxFileStore="9GB"'), "on a volume of 10G"),
        (("config.queue.replicas=5",), "config.queue.replicas"),
        (('ingress.users={"me": "secret"}',), "me"),
        (('ingress.users={"me": "$argon2id$x"}', 'ingress.usersSecret="mine"'), "ingress.usersSecret"),
        (("ingress.tls.certManager.enabled=true", 'ingress.tls.existingSecret="mine"'), "ingress.tls"),
        (('config.ingress.tls={"certificate": "/a", "key": "/b"}',), "ingress.tls"),
        (("config.delivery.drain_s=90",), "delivery.drainSeconds"),
        (
            ('ingress.usersSecret="mine"', 'config.ingress.auth.backends=[{"kind": "users_file", "path": "/users"}]'),
            "config.ingress.auth.backends",
        ),
        (
            ('config.dkim.keys=[{"domain": "a.test", "selector": "s", "file": "/etc/jetpost/dkim/key"}]',),
            "dkim.secrets",
        ),
        (('config.dkim.folder="/etc/jetpost/dkim"',), "dkim.secrets"),
        (('dkim.secrets="keys"',), "dkim.secrets"),
        (('dkim.secrets=["keys"]', 'config.dkim.folder="/keys"'), "config.dkim.folder"),
        (('dkim.create=[{"domain": "a.test", "selector": "s"}]', 'config.dkim.folder="/keys"'), "config.dkim.folder"),
        (("networkPolicy.metricsFrom={}",), "metricsFrom"),
        (("networkPolicy.dnsPorts=[]",), "dnsPorts"),
        (("nats.bundled.replicas=4",), "nats.bundled.replicas"),
        # nats-server does not start with less.
        (("nats.bundled.lameDuckSeconds=29",), "lameDuckSeconds"),
        (('ingress.service.type="Loadbalancer"',), "type"),
        (('ingress.service.ports={"mx": 25}',), "no listener mx"),
        (('ingress.service.proxyProtocolFrom=["the load balancer"]',), "proxyProtocolFrom"),
        ((listeners("2525", "25"), 'ingress.service.ports={"relay": 25}'), "above 1023"),
        ((listeners("2525", "8080"), 'ingress.service.ports={"relay": 25}'), "8080"),
        ((listeners("2525", "2526"), 'ingress.service.ports={"relay": 25}'), "used twice"),
        ((relaying("0.0.0.0/0"),), "relay_networks of relay has 0.0.0.0/0, so anybody could send mail to anybody"),
        ((relaying("10.0.0.0/8", "::/0"),), "an open relay"),
        ((relaying("::FFFF:0:0/96"),), "an open relay"),
        ((relaying("128.0.0.0/1", "0.0.0.0/1"),), "an open relay"),
        ((listeners("0.0.0.0", "127.0.0.1"), 'ingress.service.ports={"relay": 25}'), "host: 0.0.0.0"),
        (("delivery.hpa.enabled=true", "delivery.keda.enabled=true"), "delivery.hpa"),
        (("delivery.keda.minReplicas=0",), "minReplicas"),
        (("delivery.unbound.enabled=true",), "delivery.unbound.image"),
        (("delivery.unbound.enabled=true", 'delivery.unbound.image="unbound"'), "delivery.unbound.forward"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_mistake_is_refused_by_its_name(settings: tuple[str, ...], said: str) -> None:
    assert said in refusal(MINIMAL, *settings)


def test_a_hostname_must_be_given() -> None:
    assert "hostname" in refusal(None)


def test_the_least_is_enough() -> None:
    assert render(None, 'hostname="mx.example.org"')
