"""The values and manifests in how-tos about sending install what they promise."""

import json

import pytest

from tests.chart.test_network_policies import NEIGHBOUR, End, ours, reaches
from tests.fixtures.chart import CHART, NAMESPACE, Manifest, configuration, named, of_kind, render
from tests.fixtures.howto import HowTo

pytestmark = pytest.mark.chart

DOVECOT, SIGN = HowTo("dovecot"), HowTo("sign-your-domain")
MINIMAL = CHART / "ci/minimal.yaml"


def secrets(manifests: list[Manifest], service: str) -> list[str]:
    """The Secrets whose files a service has as its DKIM keys."""
    pod = named(manifests, "Deployment", f"jetpost-{service}")["spec"]["template"]["spec"]
    (sources,) = [it["projected"]["sources"] for it in pod["volumes"] if it["name"] == "dkim"]
    return [it["secret"]["name"] for it in sources]


def test_the_network_policies_of_the_page_let_delivery_reach_dovecot() -> None:
    _, route, policy = DOVECOT.configurations
    manifests = render(MINIMAL, f"config.delivery={json.dumps(route['delivery'])}")
    policy["metadata"]["namespace"] = NAMESPACE
    for port in policy["spec"]["ingress"][0]["ports"]:
        port.setdefault("protocol", "TCP")  # as Kubernetes does
    dovecot = End({"app": "dovecot"}, NAMESPACE, "10.244.0.9")

    policies = [*of_kind(manifests, "NetworkPolicy"), policy]

    assert configuration(manifests)["delivery"]["routes"][-1:] == route["delivery"]["routes"]
    assert reaches(policies, ours("delivery"), dovecot, 24)
    assert not reaches(policies, ours("ingress"), dovecot, 24)
    assert not reaches(policies, NEIGHBOUR, dovecot, 24)


def test_the_keys_of_the_page_are_those_of_ingress_and_bouncer() -> None:
    (named_secret,) = [it["dkim"] for it in SIGN.configurations if "secrets" in it.get("dkim", {})]
    created = [it["dkim"] for it in SIGN.configurations if "create" in it.get("dkim", {})]
    (words,) = [it for it in SIGN.commands("kubectl") if "dkim-example-org" in it and "apply" not in it]

    mine = render(MINIMAL, f"dkim={json.dumps(named_secret)}")

    assert secrets(mine, "ingress") == secrets(mine, "bouncer") == [words[words.index("generic") + 1]]
    assert len(created) == 2
    for keys in created:
        made = render(MINIMAL, f"dkim={json.dumps(keys)}")
        (job,) = of_kind(made, "Job")
        assert len(secrets(made, "ingress")) == len(keys["create"])
        assert all(key["selector"] in json.dumps(job) for key in keys["create"])
