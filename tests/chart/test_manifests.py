"""What the chart renders is valid, fits together, and asks for no privilege, whatever the values."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from ingress.config import Ingress
from jetpost.config.load import SECTIONS, load
from tests.fixtures.certificates import Certificates
from tests.fixtures.chart import (
    CHART,
    EXAMPLES,
    KUBERNETES,
    NAMESPACE,
    Manifest,
    configuration,
    helm,
    is_selected,
    named,
    of_kind,
    pods,
    render,
    rendered,
)
from tests.fixtures.custom_resources import KINDS, complaints
from tests.fixtures.dkim import ed25519_pem

pytestmark = pytest.mark.chart


@pytest.fixture(params=EXAMPLES, ids=lambda path: path.stem)
def example(request: pytest.FixtureRequest) -> Path:
    """Each of the chart's examples of values."""
    path: Path = request.param
    return path


@pytest.fixture
def manifests(example: Path) -> list[Manifest]:
    """What it renders to."""
    return rendered(example)


def test_helm_finds_nothing_to_complain_about(example: Path) -> None:
    linted = helm("lint", "--strict", CHART, "--values", example, "--kube-version", KUBERNETES)

    assert linted.returncode == 0, linted.stdout + linted.stderr


@pytest.mark.parametrize("kubernetes", ["1.29", "1.31", "1.34"])
def test_kubernetes_knows_every_field(manifests: list[Manifest], kubernetes: str) -> None:
    for manifest in manifests:
        if (manifest["apiVersion"], manifest["kind"]) not in KINDS:
            kubernetes_validate.validate(manifest, kubernetes, strict=True)


def test_operators_know_every_field_of_what_is_theirs(manifests: list[Manifest]) -> None:
    theirs = [it for it in manifests if (it["apiVersion"], it["kind"]) in KINDS]

    assert {it["metadata"]["name"]: complaints(it) for it in theirs if complaints(it)} == {}


def test_an_example_has_every_kind_that_is_an_operators() -> None:
    kinds = {(it["apiVersion"], it["kind"]) for example in EXAMPLES for it in rendered(example)}

    assert kinds >= KINDS.keys()
    (monitor,) = of_kind(render(CHART / "ci/production.yaml"), "PodMonitor")
    monitor["spec"]["podMetricsEndpoints"][0]["intervall"] = 3
    assert "intervall" in complaints(monitor)[0], "the definitions see a mistake"


def test_every_object_is_in_the_namespace_and_has_a_name_of_its_own(manifests: list[Manifest]) -> None:
    names = [(it["kind"], it["metadata"]["name"]) for it in manifests]

    assert len(set(names)) == len(names)
    assert {it["metadata"]["namespace"] for it in manifests} == {NAMESPACE}


def test_pods_ask_for_no_privilege(manifests: list[Manifest]) -> None:
    """The Pod Security profile `restricted`, and a read-only root on top."""
    for pod in pods(manifests):
        spec = pod["spec"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        if spec["containers"][0]["name"] != "secrets":
            assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
        assert {kind for volume in spec.get("volumes", []) for kind in volume if kind != "name"} <= {
            "configMap",
            "emptyDir",
            "projected",
            "secret",
        }
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert all(port["containerPort"] > 1023 for port in container.get("ports", []))
            assert not any("hostPort" in port for port in container.get("ports", []))
        assert spec["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True


def test_every_container_says_what_it_needs_and_is_probed(manifests: list[Manifest]) -> None:
    for workload in of_kind(manifests, "Deployment", "StatefulSet"):
        spec = workload["spec"]["template"]["spec"]
        for container in [spec["containers"][0], *spec.get("initContainers", [])]:
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
            assert "memory" in container["resources"]["limits"]
            # One that runs to its end before the others is not probed.
            if container is spec["containers"][0] or container.get("restartPolicy") == "Always":
                assert {"startupProbe", "livenessProbe"} <= container.keys()
        assert "readinessProbe" in spec["containers"][0]


def test_a_pod_has_time_to_drain(manifests: list[Manifest]) -> None:
    settings = configuration(manifests)
    for deployment in of_kind(manifests, "Deployment"):
        service = deployment["metadata"]["labels"]["app.kubernetes.io/component"]
        spec = deployment["spec"]["template"]["spec"]
        assert spec["terminationGracePeriodSeconds"] > settings[service]["drain_s"] + 5


def test_a_nats_server_has_time_to_wait_for_its_turn(manifests: list[Manifest]) -> None:
    for nodes in of_kind(manifests, "StatefulSet"):
        pod, names = nodes["spec"]["template"]["spec"], {f"jetpost-nats-{n}" for n in range(nodes["spec"]["replicas"])}
        container = pod["containers"][0]
        command = container["lifecycle"]["preStop"]["exec"]["command"]
        assert "--within=300" in command
        assert pod["terminationGracePeriodSeconds"] >= 300 + 30 + 30
        assert {word.partition("=https://")[0] for word in command if "=https://" in word} == names
        for probe in ("startupProbe", "livenessProbe"):
            assert container[probe]["terminationGracePeriodSeconds"] == 60, "a restart waits for nobody"


def test_a_nats_image_of_ones_own_has_no_hook_of_ours() -> None:
    nodes = named(render(CHART / "ci/minimal.yaml", 'nats.bundled.image="nats:2"'), "StatefulSet", "jetpost-nats")

    pod = nodes["spec"]["template"]["spec"]
    assert pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][0] == "nats-server"
    assert pod["terminationGracePeriodSeconds"] == 60


def test_selectors_find_the_pods_they_are_for(manifests: list[Manifest]) -> None:
    labels = [pod["metadata"]["labels"] for pod in pods(manifests)]
    for workload in of_kind(manifests, "Deployment", "StatefulSet"):
        selector = workload["spec"]["selector"]["matchLabels"]
        assert is_selected(workload["spec"]["template"]["metadata"]["labels"], selector)
        assert sum(is_selected(each, selector) for each in labels) == 1, "selects pods of another workload"
    for other in of_kind(manifests, "PodDisruptionBudget", "NetworkPolicy"):
        selector = (other["spec"].get("selector") or other["spec"].get("podSelector"))["matchLabels"]
        assert any(is_selected(each, selector) for each in labels), other["metadata"]["name"]


def test_services_lead_to_ports_that_are_listened_on(manifests: list[Manifest]) -> None:
    for service in of_kind(manifests, "Service"):
        found = [p for p in pods(manifests) if is_selected(p["metadata"]["labels"], service["spec"]["selector"])]
        assert found, service["metadata"]["name"]
        open_ports = {port["name"] for port in found[0]["spec"]["containers"][0]["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= open_ports


def test_what_pods_mount_and_read_exists(manifests: list[Manifest], example: Path) -> None:
    made = {it["metadata"]["name"] for it in of_kind(manifests, "ConfigMap", "Secret")}
    made |= {it["spec"]["secretName"] for it in of_kind(manifests, "Certificate")}
    made |= {
        it.partition("=")[2]
        for job in of_kind(manifests, "Job")
        for it in pods([job])[0]["spec"]["containers"][0]["args"]
    }
    named_in_values = example.read_text()
    for pod in pods(manifests):
        for name in set(_references(pod["spec"])):
            assert name in made or name in named_in_values, f"{name} does not exist"
        volumes = {volume["name"] for volume in pod["spec"].get("volumes", [])} | {"data"}
        containers = [*pod["spec"]["containers"], *pod["spec"].get("initContainers", [])]
        mounts = [mount for each in containers for mount in each.get("volumeMounts", [])]
        assert {mount["name"] for mount in mounts} <= volumes
        paths = sorted(mount["mountPath"] for mount in pod["spec"]["containers"][0].get("volumeMounts", []))
        nested = [path for path in paths for other in paths if path.startswith(f"{other}/")]
        assert not nested, "a mount within a read-only mount cannot be made"


def _references(node: Any) -> Iterator[str]:
    """Names of ConfigMaps and Secrets anywhere in a pod."""
    if isinstance(node, list):
        for item in node:
            yield from _references(item)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in {"configMap", "configMapRef", "secretRef", "configMapKeyRef", "secretKeyRef"}:
                yield value["name"]
            elif key == "secret":
                yield value.get("secretName") or value["name"]
            else:
                yield from _references(value)


def test_policies_open_what_pods_listen_on_and_no_more(manifests: list[Manifest]) -> None:
    policies = of_kind(manifests, "NetworkPolicy")
    for pod in pods(manifests) if policies else []:
        mine = [p for p in policies if is_selected(pod["metadata"]["labels"], p["spec"]["podSelector"]["matchLabels"])]
        assert len(mine) == 1
        opened = {port["port"] for rule in mine[0]["spec"]["ingress"] for port in rule["ports"]}
        assert opened == {port["containerPort"] for port in pod["spec"]["containers"][0].get("ports", [])}
        assert all(rule["ports"] for rule in mine[0]["spec"]["egress"]), "out to anywhere on every port"


def test_the_test_pod_runs_the_doctor_as_a_service_reaches_nats(manifests: list[Manifest]) -> None:
    for pod in of_kind(manifests, "Pod"):
        probe, doctor = pod["spec"]["containers"]
        bouncer = named(manifests, "Deployment", "jetpost-bouncer")["spec"]["template"]["spec"]["containers"][0]
        assert (probe["name"], doctor["command"][:2]) == ("probe", ["jetpost", "doctor"])
        sections = [word.partition("=")[2] for word in doctor["command"] if word.startswith("--section=")]
        assert set(sections) <= set(SECTIONS)
        assert "--fail-on=error" in doctor["command"], "warnings do not fail it"
        assert doctor["env"] == bouncer["env"]
        needed = {"/etc/jetpost/config", "/etc/jetpost/nats"}
        theirs = {it["mountPath"] for it in bouncer["volumeMounts"]} & needed
        assert {it["mountPath"] for it in doctor["volumeMounts"]} == theirs
        assert {it["name"] for it in doctor["volumeMounts"]} <= {it["name"] for it in pod["spec"]["volumes"]}


def test_the_test_listener_takes_mail_for_the_test_alone(manifests: list[Manifest]) -> None:
    listeners = {it["name"]: it for it in configuration(manifests)["ingress"]["listeners"]}
    if not of_kind(manifests, "Pod"):
        assert "helm-test" not in listeners
        return
    service = named(manifests, "Service", "jetpost-test")["metadata"]
    domain = f"{service['name']}.{service['namespace']}.svc.cluster.local"
    place = {"name": "helm-test", "host": "0.0.0.0", "port": 2526}
    terms = {"domains": [domain], "tls": "starttls", "require_tls": True, "submission": True}
    assert listeners["helm-test"] == {**place, **terms}
    command = of_kind(manifests, "Pod")[0]["spec"]["containers"][0]["command"]
    assert {f"--domain={domain}", "--name=mx.example.org", "--ca=/etc/jetpost/tls/tls.crt"} <= set(command)


def test_the_test_comes_to_the_port_that_mail_is_delivered_to() -> None:
    manifests = render(CHART / "ci/minimal.yaml", "config.delivery.route.port=2500")

    command = of_kind(manifests, "Pod")[0]["spec"]["containers"][0]["command"]
    assert "--reachable=jetpost-test.mail.svc.cluster.local:2500" in command
    assert named(manifests, "Service", "jetpost-test")["spec"]["ports"][0]["port"] == 2500


def test_routes_find_their_passwords_and_leave_the_test_alone() -> None:
    routes = '[{"name": "a", "action": {"kind": "hosts", "hosts": [{"host": "a.test"}]}}]'
    settings = (f"config.delivery.routes={routes}", 'delivery.credentialsSecret="upstream"')

    manifests = render(CHART / "ci/minimal.yaml", *settings)

    assert [it["name"] for it in configuration(manifests)["delivery"]["routes"]] == ["helm-test", "a"]
    pod = named(manifests, "Deployment", "jetpost-delivery")["spec"]["template"]["spec"]
    assert {"name": "credentials", "mountPath": "/etc/jetpost/credentials", "readOnly": True} in pod["containers"][0][
        "volumeMounts"
    ]
    secrets = [volume["secret"] for volume in pod["volumes"] if "secret" in volume]
    assert {"secretName": "upstream", "defaultMode": 0o440} in secrets


def test_those_who_sign_have_the_keys_and_nobody_else() -> None:
    manifests = render(CHART / "ci/production.yaml")
    mount = {"name": "dkim", "mountPath": "/etc/jetpost/dkim", "readOnly": True}
    sources = [{"secret": {"name": name}} for name in ("dkim-example-org", "dkim-example-net")]

    for service, has in (("ingress", True), ("bouncer", True), ("delivery", False)):
        pod = named(manifests, "Deployment", f"jetpost-{service}")["spec"]["template"]["spec"]
        assert (mount in pod["containers"][0]["volumeMounts"]) is has
        volumes = [it["projected"] for it in pod["volumes"] if it["name"] == "dkim"]
        assert volumes == [{"defaultMode": 0o440, "sources": sources}] * has


def test_jetpost_takes_the_configuration(manifests: list[Manifest], certificates: Certificates, tmp_path: Path) -> None:
    """All but the files is as the pods find it."""
    users = tmp_path / "users"
    secrets = {it["metadata"]["name"]: it for it in of_kind(manifests, "Secret")}
    users.write_text(secrets["jetpost-users"]["stringData"]["users"] if "jetpost-users" in secrets else "")
    (tmp_path / "nats.creds").write_text("")
    key = tmp_path / "dkim.pem"
    key.write_bytes(ed25519_pem())
    text = json.dumps(configuration(manifests))
    for path, real in {
        "/etc/jetpost/tls/tls.crt": certificates.certificate_file,
        "/etc/jetpost/tls/tls.key": certificates.key_file,
        "/etc/jetpost/nats/ca.crt": certificates.ca_file,
        "/etc/jetpost/nats/tls.crt": certificates.certificate_file,
        "/etc/jetpost/nats/tls.key": certificates.key_file,
        "/etc/jetpost/nats/nats.creds": tmp_path / "nats.creds",
        "/etc/jetpost/users/users": users,
        "/etc/jetpost/dkim": tmp_path,
        "/etc/jetpost/dkim/example-org.pem": key,
        "/etc/jetpost/dkim/example-net.pem": key,
    }.items():
        text = text.replace(f'"{path}"', json.dumps(str(real)))
    file = tmp_path / "jetpost.yaml"
    file.write_text(yaml.safe_dump(json.loads(text)))

    settings = load(file, {}, sections=SECTIONS)

    assert settings.of(Ingress).auth.backends


def test_readiness_and_metrics_are_where_the_probes_look(manifests: list[Manifest]) -> None:
    assert configuration(manifests)["http"] == {"host": "0.0.0.0", "port": 8080}


def test_autoscaling_asks_the_service_that_looks_at_the_queue() -> None:
    by_pods = render(CHART / "ci/minimal.yaml", "delivery.keda.enabled=true")
    by_prometheus = render(
        CHART / "ci/minimal.yaml", "delivery.keda.enabled=true", 'delivery.keda.prometheus="http://prometheus:9090"'
    )

    asked = {trigger["metadata"]["url"] for trigger in of_kind(by_pods, "ScaledObject")[0]["spec"]["triggers"]}
    service = named(by_pods, "Service", "jetpost-bouncer-metrics")
    bouncer = named(by_pods, "Deployment", "jetpost-bouncer")["spec"]
    assert asked == {"http://jetpost-bouncer-metrics.mail.svc:8080/metrics"}
    assert service["spec"]["selector"].items() <= bouncer["template"]["metadata"]["labels"].items()
    for trigger in of_kind(by_prometheus, "ScaledObject")[0]["spec"]["triggers"]:
        assert 'pod=~"jetpost-bouncer-.*"' in trigger["metadata"]["query"]


def test_every_pod_runs_where_and_as_the_chart_is_told() -> None:
    manifests = render(
        CHART / "ci/minimal.yaml",
        'nodeSelector={"pool": "mail"}',
        'tolerations=[{"key": "mail"}]',
        'podAnnotations={"owner": "mail"}',
        'podLabels={"team": "mail"}',
    )

    assert len(pods(manifests)) == 5
    for pod in pods(manifests):
        assert pod["spec"]["nodeSelector"] == {"pool": "mail"}
        assert pod["spec"]["tolerations"] == [{"key": "mail"}]
        assert pod["metadata"]["annotations"]["owner"] == "mail"
        assert pod["metadata"]["labels"]["team"] == "mail"


@pytest.mark.parametrize("length", [1, 40, 52, 53])
def test_names_are_whole_and_apart_whatever_the_release_is_called(length: int) -> None:
    release, other = "r" * length, "r" * (length - 1) + "s"
    manifests = render(CHART / "ci/production.yaml", release=release)
    names = [(it["kind"], it["metadata"]["name"]) for it in manifests]
    others = [(it["kind"], it["metadata"]["name"]) for it in render(CHART / "ci/production.yaml", release=other)]

    assert len(set(names)) == len(names)
    assert not set(names) & set(others)
    # A StatefulSet's name and a checksum of eleven characters are a label.
    assert max(len(name) for _, name in names) <= 52
    for kind, suffix in {"StatefulSet": "-nats", "Pod": "-test"}.items():
        assert of_kind(manifests, kind)[0]["metadata"]["name"].endswith(suffix)
    made = {it["metadata"]["name"] for it in of_kind(manifests, "ConfigMap", "Secret")}
    made |= {it["spec"]["secretName"] for it in of_kind(manifests, "Certificate")}
    made |= {"registry", "dkim-example-org", "dkim-example-net"}
    assert {name for pod in pods(manifests) for name in _references(pod["spec"])} <= made


def test_a_command_in_a_pod_finds_the_configuration(manifests: list[Manifest]) -> None:
    mounted = "/etc/jetpost/config/jetpost.yaml"
    for service in ("ingress", "delivery", "bouncer"):
        (container, *_) = named(manifests, "Deployment", f"jetpost-{service}")["spec"]["template"]["spec"]["containers"]
        assert {"name": "JETPOST_CONFIG", "value": mounted} in container["env"]
        assert any(mounted.startswith(mount["mountPath"]) for mount in container["volumeMounts"])
