"""The values in `docs/howto/smart-host.md` install what they promise."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from delivery.connect.auth.oauth.request import request
from delivery.route.actions.kinds import ToHosts
from delivery.route.rules import Rule
from tests.chart.test_network_policies import OUTSIDE, ours, reaches
from tests.fixtures.chart import CHART, configuration, named, of_kind, render
from tests.fixtures.dkim import rsa_pem
from tests.fixtures.howto import HowTo, blocks
from tests.unit.test_delivery_oauth_request import service_account

pytestmark = pytest.mark.chart

PAGE = HowTo("smart-host")
MOUNTED = "/etc/jetpost/credentials"


@pytest.mark.parametrize(
    ("title", "host", "issuer"),
    [
        ("Microsoft 365 with OAuth", "smtp.office365.com", "login.microsoftonline.com"),
        ("Google Workspace with OAuth", "smtp.gmail.com", "oauth2.googleapis.com"),
    ],
)
def test_the_values_of_the_page_install_a_route_with_tokens(title: str, host: str, issuer: str, tmp_path: Path) -> None:
    text = PAGE.section(title)
    (values,) = blocks(text, "yaml")
    (given := tmp_path / "values.yaml").write_text(f"{(CHART / 'ci/minimal.yaml').read_text()}\n", encoding="utf-8")
    for command in blocks(text, "sh"):
        if command.startswith("openssl"):
            subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)  # noqa: S603
    (tmp_path / "service-account.json").write_bytes(service_account(rsa_pem()))
    page: dict[str, Any] = yaml.safe_load(values)
    settings = [f"{key}={json.dumps(it)}" for key, it in flat(page)]

    manifests = render(given, *settings)

    # The Secret has all files that the route names, and is mounted where they are looked for.
    in_secret = set(re.findall(r"--from-file=(\S+)", text))
    assert set(re.findall(rf"{MOUNTED}/(\S+)", values)) == in_secret
    pod = named(manifests, "Deployment", "jetpost-delivery")["spec"]["template"]["spec"]
    (secret,) = re.findall(r"create secret generic (\S+)", text)
    assert secret in [it["secret"]["secretName"] for it in pod["volumes"] if "secret" in it]
    assert {"name": "credentials", "mountPath": MOUNTED, "readOnly": True} in pod["containers"][0]["volumeMounts"]

    configured = configuration(manifests)["delivery"]["routes"][-1]
    route = json.loads(json.dumps(configured).replace(MOUNTED, str(tmp_path)))
    action = Rule.model_validate(route).action
    assert isinstance(action, ToHosts)
    login = action.terms(route["name"], "").login
    assert login is not None
    assert login.tokens is not None
    assert (action.hosts[0].host, login.tokens.host) == (host, issuer)
    # The request for a token can be made of the files.
    contents = {file: Path(file).read_bytes() for file in login.tokens.files}
    assert request(login.tokens, contents, now=0, jti="1").form["scope"] == login.tokens.scope

    policies = of_kind(manifests, "NetworkPolicy")
    assert all(reaches(policies, ours("delivery"), OUTSIDE, port) for port in (443, 587))


def flat(values: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(f"{top}.{key}", it) for top, inside in values.items() for key, it in inside.items()]
