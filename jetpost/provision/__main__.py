"""Create the Secrets that an installation needs and nobody has named: a Job of the chart.

    python -m jetpost.provision [--login NAME] [--nats-tls NAME --dns-name NAME…] [--ingress-tls NAME --hostname NAME]
        [--dkim NAME,DOMAIN,SELECTOR,KIND,REPLACED+…]…

Each Secret is one request that creates it whole, or finds it there and leaves it as it is. So the Job may be killed at
any line, run twice or run beside itself. It may create Secrets and nothing else: it cannot read, change or delete any.

The Secrets have no label of the release and no owner. A GitOps controller takes what has the release's label and is not
in its repository for left over, and Kubernetes deletes what belongs to a Job that is replaced.
"""

import argparse
import base64
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path

from jetpost.client_tls import verifying
from jetpost.provision.material import Data, authority_and_certificate, dkim_key, login, self_signed
from jetpost.reason import reason_of
from jetpost.telemetry.log import Log, configure, logger

_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_PATIENCE_S = 10.0
_PAUSE_S = 2.0
_THERE = 409

log = logger(__name__)


def main(words: list[str]) -> int:
    """The exit status: 0, all are there; 1, some are not, and the Job tries again."""
    asked = _parser().parse_args(words)
    made: dict[str, tuple[str, Callable[[], Data]]] = {}
    if asked.login:
        made[asked.login] = "Opaque", login
    if asked.nats_tls:
        made[asked.nats_tls] = (
            "kubernetes.io/tls",
            lambda: authority_and_certificate(asked.nats_tls, asked.dns_name),
        )
    if asked.ingress_tls:
        made[asked.ingress_tls] = "kubernetes.io/tls", lambda: self_signed(asked.hostname)
    for words_of_key in asked.dkim:
        secret, domain, selector, kind, replaces = words_of_key.split(",")
        made[secret] = "Opaque", partial(dkim_key, domain, selector, kind, [it for it in replaces.split("+") if it])
    configure("provision", Log(format="json"))
    deadline = time.monotonic() + asked.within
    for name, (kind, make) in made.items():
        data = make()
        while not _create(asked, name, kind, data):
            if time.monotonic() > deadline:
                return 1
            time.sleep(_PAUSE_S)
    return 0


def _create(asked: argparse.Namespace, name: str, kind: str, data: Data) -> bool:
    """Whether the Secret is there now."""
    namespace = (asked.account / "namespace").read_text().strip()
    coded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    labels = {"app.kubernetes.io/name": "jetpost", "app.kubernetes.io/managed-by": "jetpost-provision"}
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": kind, "data": coded}
    request = urllib.request.Request(  # noqa: S310 — the cluster's own API
        f"{asked.api}/api/v1/namespaces/{namespace}/secrets",
        data=json.dumps(secret).encode(),
        method="POST",
        headers={
            "Authorization": f"Bearer {(asked.account / 'token').read_text().strip()}",
            "Content-Type": "application/json",
        },
    )
    try:
        trust = verifying(asked.account / "ca.crt") if asked.api.startswith("https") else None
        with urllib.request.urlopen(request, timeout=_PATIENCE_S, context=trust):  # noqa: S310 — the same
            log.info("Secret created", secret=name)
            return True
    except urllib.error.HTTPError as refused:
        if refused.code == _THERE:
            log.info("Secret exists, not changed", secret=name)
            return True
        # Forbidden: the Role may come a moment later than the Job.
        log.warning("cannot create Secret", secret=name, status=refused.code, error=reason_of(refused))
    except OSError as error:
        log.warning("cannot create Secret", secret=name, error=reason_of(error))
    return False


def _parser() -> argparse.ArgumentParser:
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST", ""), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    api = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    parser = argparse.ArgumentParser(prog="python -m jetpost.provision")
    parser.add_argument("--login", help="the Secret with user and passwords of the nats-servers")
    parser.add_argument("--nats-tls", help="the Secret with CA, certificate and key of the nats-servers")
    parser.add_argument("--dns-name", action="append", help="what that certificate is for")
    parser.add_argument("--ingress-tls", help="the Secret with a self-signed certificate for ingress")
    parser.add_argument("--hostname", help="what that one is for")
    parser.add_argument("--dkim", action="append", default=[], help="a Secret with a key that signs")
    parser.add_argument("--api", default=api, help="URL of the Kubernetes API")
    parser.add_argument("--account", type=Path, default=_POD, help="folder with token, namespace and ca.crt")
    parser.add_argument("--within", type=float, default=600, help="seconds to try")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
