"""Renderers without a cluster: what they render is the same each time, or they are refused."""

import base64
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from tests.fixtures.chart import CHART, EXAMPLES, Manifest, named, of_kind, refusal, render

pytestmark = pytest.mark.chart

MINIMAL, GITOPS = CHART / "ci/minimal.yaml", CHART / "ci/gitops.yaml"
NAMED = {
    "nats.bundled.authSecret": 'nats.bundled.authSecret="auth"',
    "nats.bundled.tls": 'nats.bundled.tls.existingSecret="tls"',
    "ingress.tls": 'ingress.tls.existingSecret="mx"',
}
"""What must be named, and how it is."""


@pytest.mark.parametrize("missing", NAMED)
def test_what_would_be_drawn_again_each_time_is_refused_by_its_name(missing: str) -> None:
    said = refusal(MINIMAL, *(setting for name, setting in NAMED.items() if name != missing), cluster=False)

    assert f"{missing}: rendering without access to the cluster" in said


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
@pytest.mark.parametrize(
    "settings", [(), tuple(NAMED.values()), ('secrets.create="job"',)], ids=["as it is", "named", "job"]
)
def test_two_renderings_without_a_cluster_are_the_same_or_refused(example: Path, settings: tuple[str, ...]) -> None:
    if "certManager" in example.read_text() and "tls" in str(settings):
        settings = ('secrets.create="job"',)
    if not settings and "existingSecret" not in example.read_text() and example != GITOPS:
        assert "without access to the cluster" in refusal(example, cluster=False)
        return
    assert render(example, *settings, cluster=False) == render(example, *settings, cluster=False)


def test_pods_read_what_the_job_makes_and_helm_makes_nothing() -> None:
    manifests = render(GITOPS, cluster=False)

    assert [it["metadata"]["name"] for it in of_kind(manifests, "Secret")] == ["jetpost-users"]
    made = {
        it.partition("=")[2] for it in arguments(manifests) if it.startswith(("--login", "--nats-tls", "--ingress-tls"))
    }
    assert len(made) == 3
    for name in made:
        assert json.dumps(manifests).count(name) >= 2, "the Job makes it, and a pod reads it"


def test_the_job_may_create_secrets_and_nothing_else() -> None:
    manifests = render(GITOPS, cluster=False)

    (role,) = of_kind(manifests, "Role")
    assert role["rules"] == [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]}]


def test_another_image_is_another_job_since_none_can_be_changed() -> None:
    (one,) = of_kind(render(GITOPS, cluster=False), "Job")
    (other,) = of_kind(render(GITOPS, 'image.tag="9"', cluster=False), "Job")

    assert one["metadata"]["name"] != other["metadata"]["name"]
    assert not one["metadata"].get("annotations"), "no hook: kubectl and Argo CD apply it like all else"


def arguments(manifests: list[Manifest]) -> list[str]:
    """Those of the Job."""
    (job,) = of_kind(manifests, "Job")
    found: list[str] = job["spec"]["template"]["spec"]["containers"][0]["args"]
    return found


@contextmanager
def kubernetes(found: dict[str, Any], refuse: int = 0) -> Iterator[str]:
    """An API that creates Secrets: URL. It refuses the first ones with 403, as before the Role is there."""
    refusals = [403] * refuse

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            secret = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert self.headers["Authorization"] == "Bearer token"
            assert self.path == "/api/v1/namespaces/mail/secrets"
            name = secret["metadata"]["name"]
            status = refusals.pop() if refusals else 409 if name in found else 201
            if status == 201:
                found[name] = secret
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — http.server's name
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


def run(folder: Path, api: str) -> subprocess.CompletedProcess[str]:
    """The Job of the example, as a process."""
    (folder / "token").write_text("token")
    (folder / "namespace").write_text("mail")
    words = [*arguments(render(GITOPS, cluster=False)), f"--api={api}", f"--account={folder}"]
    command = [sys.executable, "-m", "jetpost.provision", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 — ours


def test_the_job_creates_what_is_missing_and_changes_nothing(tmp_path: Path) -> None:
    found: dict[str, Any] = {"jetpost-nats-auth-made": "mine"}
    with kubernetes(found, refuse=1) as api:
        first = run(tmp_path, api)
        assert first.returncode == 0, first.stderr
        made = dict(found)
        assert run(tmp_path, api).returncode == 0

    assert found == made
    assert made.pop("jetpost-nats-auth-made") == "mine"
    assert len(made) == 2
    for secret in made.values():
        # Else Argo CD prunes it, or it goes with the Job.
        assert "app.kubernetes.io/instance" not in secret["metadata"]["labels"]
        assert "ownerReferences" not in secret["metadata"]
        assert not any("PRIVATE" in text for text in (first.stderr, first.stdout))


def test_the_certificate_is_for_the_servers_and_of_the_ca_beside_it(tmp_path: Path) -> None:
    found: dict[str, Any] = {}
    with kubernetes(found) as api:
        assert run(tmp_path, api).returncode == 0
    data = {key: base64.b64decode(value) for key, value in found["jetpost-nats-tls-made"]["data"].items()}
    authority, certificate = (x509.load_pem_x509_certificate(data[key]) for key in ("ca.crt", "tls.crt"))

    certificate.verify_directly_issued_by(authority)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "*.jetpost-nats.mail.svc" in names.get_values_for_type(x509.DNSName)
    login = found["jetpost-nats-auth-made"]["data"]
    assert set(login) == {"user", "password", "route-password"}
    assert named(render(GITOPS, cluster=False), "StatefulSet", "jetpost-nats")
