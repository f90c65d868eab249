"""Keys that sign are made by a Job, kept by whatever comes after it, and their records are printed."""

import base64
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from jetpost.process.dkim.settings import Dkim
from jetpost.process.signing import Signer
from jetpost.sign.key_file import named as name_of_key
from jetpost.sign.key_file import notes_of
from jetpost.sign.keys import private_key
from jetpost.sign.record import zone_line
from tests.chart.test_gitops import GITOPS, MINIMAL, arguments, kubernetes
from tests.fixtures.chart import CHART, Manifest, named, of_kind, refusal, render
from tests.fixtures.kubernetes_api import serving

pytestmark = pytest.mark.chart

KEYS = [
    {"domain": "example.org", "selector": "rsa2026"},
    {"domain": "example.org", "selector": "ed2026", "kind": "ed25519"},
    {"domain": "example.org", "selector": "ed2027", "kind": "ed25519"},
    {"domain": "example.net", "selector": "ed2026", "kind": "ed25519"},
]
CREATE = f"dkim.create={json.dumps(KEYS)}"


def mounted(manifests: list[Manifest], service: str) -> list[str]:
    """The Secrets with keys that a service has."""
    pod = named(manifests, "Deployment", f"jetpost-{service}")["spec"]["template"]["spec"]
    (sources,) = [it["projected"]["sources"] for it in pod["volumes"] if it["name"] == "dkim"] or [[]]
    return [it["secret"]["name"] for it in sources]


@pytest.fixture(scope="module")
def manifests() -> list[Manifest]:
    return render(GITOPS, CREATE, cluster=False)


@pytest.fixture(scope="module")
def made(manifests: list[Manifest], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The Secrets that the Job made, run twice: the second time it finds them."""
    folder, found = tmp_path_factory.mktemp("account"), dict[str, Any]()
    (folder / "token").write_text("token")
    (folder / "namespace").write_text("mail")
    words = [it for it in arguments(manifests) if it.startswith("--dkim")]
    with kubernetes(found) as api:
        command = [sys.executable, "-m", "jetpost.provision", *words, f"--api={api}", f"--account={folder}"]
        for _ in range(2):
            before = dict(found)
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 — ours
            assert done.returncode == 0, done.stderr
            assert "PRIVATE" not in done.stdout + done.stderr
            assert not before or before == found, "keys are never changed"
    return found


def files(made: dict[str, Any]) -> dict[str, bytes]:
    """What lies in the folder of the keys."""
    return {name: base64.b64decode(data) for secret in made.values() for name, data in secret["data"].items()}


def test_those_who_sign_read_what_the_job_makes(manifests: list[Manifest], made: dict[str, Any]) -> None:
    assert mounted(manifests, "ingress") == mounted(manifests, "bouncer") == list(made)
    assert mounted(manifests, "delivery") == []
    configuration = yaml.safe_load(of_kind(manifests, "ConfigMap")[0]["data"]["jetpost.yaml"])
    assert configuration["dkim"] == {"folder": "/etc/jetpost/dkim"}
    assert not set(made) & {it["metadata"]["name"] for it in of_kind(manifests, "Secret")}, "Helm has none of them"
    for secret in made.values():
        assert "app.kubernetes.io/instance" not in secret["metadata"]["labels"]
        assert "ownerReferences" not in secret["metadata"]


def test_the_keys_sign_and_each_replaces_those_above_it(made: dict[str, Any], tmp_path: Path) -> None:
    for name, content in files(made).items():
        (tmp_path / name).write_bytes(content)

    signer = Signer(Dkim.model_validate({"folder": tmp_path}))

    assert {(it.domain, it.selector) for it in signer.published_keys()} == {
        ("example.org", "rsa2026"),
        ("example.org", "ed2026"),
        ("example.net", "ed2026"),
    }
    replaced = {name: set(notes_of(content).replaces) for name, content in files(made).items() if name.endswith(".pem")}
    assert replaced["ed2027._domainkey.example.org.pem"] == {"ed2026"}
    assert [name for name, old in replaced.items() if old] == ["ed2027._domainkey.example.org.pem"]


def test_two_renderings_are_the_same_and_another_key_is_another_job(manifests: list[Manifest]) -> None:
    assert render(GITOPS, CREATE, cluster=False) == manifests
    more = render(GITOPS, f"dkim.create={json.dumps([*KEYS, KEYS[0] | {'selector': 'rsa2027'}])}", cluster=False)

    one, other = (of_kind(each, "Job")[0]["metadata"]["name"] for each in (manifests, more))
    assert one != other
    assert mounted(more, "ingress")[: len(KEYS)] == mounted(manifests, "ingress")


def test_the_job_is_there_for_keys_alone_and_may_only_create_secrets() -> None:
    manifests = render(MINIMAL, CREATE)

    assert {it.partition("=")[0] for it in arguments(manifests)} == {"--dkim"}
    (role,) = of_kind(manifests, "Role")
    assert role["rules"] == [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]}]
    assert not of_kind(render(MINIMAL), "Job")


def test_keys_of_ones_own_and_made_ones_may_be_together() -> None:
    manifests = render(GITOPS, CREATE, 'dkim.secrets=["mine"]', cluster=False)

    assert mounted(manifests, "ingress")[0] == "mine"
    assert len(mounted(manifests, "ingress")) == 1 + len(KEYS)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ([KEYS[0], KEYS[0] | {"kind": "ed25519"}], "is there twice"),
        ([{"domain": "example.org"}], "selector"),
        ([{"domain": "example", "selector": "s"}], "domain"),
        ([{"domain": "example.org", "selector": "a,b"}], "selector"),
        ([{"domain": "example.org", "selector": "s", "kind": "dsa"}], "kind"),
    ],
)
def test_a_mistake_is_refused(keys: list[dict[str, str]], said: str) -> None:
    assert said in refusal(GITOPS, f"dkim.create={json.dumps(keys)}", cluster=False)


def notes(folder: Path, *secrets: dict[str, Any]) -> str:
    """NOTES, which `helm template` does not render, as a ConfigMap; of a cluster that has these Secrets."""
    folder.mkdir()
    chart = folder / "chart"
    shutil.copytree(CHART, chart)
    text = (chart / "templates/NOTES.txt").read_text()
    (chart / "templates/_copy.tpl").write_text('{{- define "copy" -}}' + text + "{{- end }}")
    (chart / "templates/copy.yaml").write_text(
        'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: copy}\ndata:\n  notes: {{ include "copy" . | toJson }}\n'
    )
    with serving(secrets, folder) as cluster:
        shown = named(render(GITOPS, CREATE, chart=chart, kubeconfig=cluster), "ConfigMap", "copy")["data"]["notes"]
    assert isinstance(shown, str)
    return shown


def test_notes_print_the_records_of_keys_that_are_there_and_how_to_see_others(
    made: dict[str, Any], tmp_path: Path
) -> None:
    show = "kubectl -n mail exec deployment/jetpost-ingress -c ingress -- jetpost dkim show"
    content = files(made)
    lines = {
        zone_line(*key, private_key(pem)) for name, pem in content.items() if (key := name_of_key(name)) is not None
    }
    assert len(lines) == len(KEYS)

    first = notes(tmp_path / "first")
    later = notes(tmp_path / "later", *made.values())

    assert show in first
    assert "IN TXT" not in first
    assert show not in later
    assert {line.strip() for line in later.splitlines() if "IN TXT" in line} == lines
    assert "PRIVATE" not in later
