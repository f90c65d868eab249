"""`helm install` on an empty namespace gives a working and secure mail system, and `helm uninstall` takes it away."""

import secrets
from pathlib import Path

import pytest

from tests.cluster.conftest import values
from tests.cluster.mail import Sink
from tests.fixtures.kubernetes import CommandError, Namespace, until
from tests.fixtures.users import PASSWORD, USER

_IDENTITY = "import os; print(os.getuid(), os.access('/', os.W_OK))"
_SUBMIT = """
import smtplib, ssl, sys
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
with smtplib.SMTP_SSL(sys.argv[1], 465, context=context, timeout=60) as client:
    client.login(sys.argv[2], sys.argv[3])
    client.sendmail("ann@" + sys.argv[4], ["bob@" + sys.argv[4]], "Subject: first mail\\r\\n\\r\\nx\\r\\n")
"""


def test_helm_test_sends_a_message_through(namespace: Namespace) -> None:
    assert "Succeeded" in namespace.helm("test", "jetpost")


def test_every_pod_runs_as_nobody_with_nothing_to_write_to(namespace: Namespace) -> None:
    for service in ("ingress", "delivery", "bouncer"):
        assert namespace.run(service, "python", "-c", _IDENTITY).split() == ["65532", "False"]
    for pod in namespace.of_release():
        assert not pod["spec"].get("automountServiceAccountToken"), pod["metadata"]["name"]


def test_a_user_submits_the_first_mail_over_tls(namespace: Namespace, sink: Sink) -> None:
    words = (f"jetpost-ingress.{namespace.name}", USER, PASSWORD, sink.domain)
    namespace.kubectl("exec", "sink", "--", "python", "-c", _SUBMIT, *words)
    until(lambda: sink.taken()["first mail"], "the first mail arrives")


def test_nobody_relays_to_elsewhere(namespace: Namespace) -> None:
    relay = (
        f"import smtplib; smtplib.SMTP('jetpost-ingress.{namespace.name}', 25).sendmail('a@b.test', ['c@d.test'], '')"
    )
    with pytest.raises(CommandError, match="Relaying denied"):
        namespace.kubectl("exec", "sink", "--", "python", "-c", relay)


def test_uninstalling_leaves_nothing_but_the_volumes(sink: Sink, tmp_path: Path) -> None:
    other = Namespace(f"jetpost-test-{secrets.token_hex(3)}", tmp_path)
    other.create()
    try:
        alone = values(sink)
        alone["nats"]["bundled"]["replicas"] = 1
        other.install(alone)
        other.helm("uninstall", "jetpost", "--wait")
        kinds = (
            "deployments,statefulsets,services,configmaps,secrets,networkpolicies,poddisruptionbudgets,serviceaccounts"
        )
        left = {it["metadata"]["name"] for it in other.objects(kinds)}
        assert {name for name in left if "jetpost" in name} == set()
        assert len(other.objects("persistentvolumeclaims")) == 1
    finally:
        other.delete()
