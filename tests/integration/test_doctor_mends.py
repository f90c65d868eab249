"""What `jetpost doctor` says to do about a route fits what was found at its host."""

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from delivery.config import Delivery
from jetpost.cli.main import app
from jetpost.dns.resolver import Dns, Resolver
from jetpost.doctor.finding import Finding, Severity
from jetpost.doctor.installation import check_upstreams
from jetpost.up.certificate import self_signed
from tests.fixtures.certificates import Certificates
from tests.fixtures.issuer import TokenIssuer
from tests.fixtures.mx import Mx
from tests.fixtures.mx_script import Script
from tests.fixtures.zone import served

PLAIN = {"tls": "none", "insecure_auth": True}
WITHIN_S = 30.0
SILENCE_S = 2.0
"""For hosts that wait as long as we do."""


async def found(action: Mapping[str, Any], *, within_s: float = WITHIN_S) -> Finding:
    """Of a route with this action."""
    rule = {"name": "smart", "action": {"kind": "hosts", **action}}
    delivery = Delivery.model_validate({"routes": [rule]})
    async with served() as zone:
        resolver = Resolver(Dns(nameservers=(zone.address,), timeout_s=5, lifetime_s=20))
        try:
            (finding,) = await check_upstreams(delivery, resolver, "jetpost.test", within_s)
        finally:
            await resolver.aclose()
    return finding


def at(host: Mx) -> dict[str, Any]:
    return {"hosts": [{"host": host.address, "port": host.port}]}


def password(folder: Path, text: str) -> dict[str, Any]:
    (file := folder / "password").write_text(text)
    return {"auth": {"user": "ann", "password_file": str(file)}}


def certificate_and(key: str, folder: Path) -> dict[str, Any]:
    for name in ("one", "other"):
        self_signed("client.test", folder / f"{name}.pem", folder / f"{name}.key")
    return {"certificate_file": str(folder / "one.pem"), "key_file": str(folder / key)}


def host_of(kind: str, certificates: Certificates) -> Script:
    """What the host does."""
    match kind:
        case "TLS at once":
            return Script(tls=certificates.server(), implicit=True)
        case "STARTTLS":
            return Script(tls=certificates.server())
        case "refuses at once":
            return Script(replies={"CONNECT": "554 5.7.1 not you"})
        case "refuses EHLO":
            return Script(replies={"EHLO": "450 4.7.1 who are you"})
        case "cannot authenticate":
            return Script(users={"ann": "right"}, replies={"AUTH": "454 4.7.0 directory away"})
        case _:
            return Script(users={"ann": "right"})


@pytest.mark.parametrize(
    ("host", "action", "failed_at", "told"),
    [
        ("plain", {"tls": "implicit"}, "starttls", "does not begin with TLS: try `tls: starttls`"),
        ("plain", {"tls": "starttls"}, "starttls", "no STARTTLS at this port: use its port with TLS"),
        ("TLS at once", {"tls": "starttls"}, "greeting", "may expect TLS from the first byte: try `tls: implicit`"),
        ("TLS at once", {"tls": "none"}, "greeting", "may expect TLS from the first byte: try `tls: implicit`"),
        ("TLS at once", {"tls": "implicit"}, "starttls", "name the CA of the certificate in `ca_file`"),
        ("STARTTLS", {"tls": "starttls"}, "starttls", "name the CA of the certificate in `ca_file`"),
        ("STARTTLS", {"tls": "starttls", "pins": ["A" * 43 + "="]}, "starttls", "add it to `pins`"),
        ("STARTTLS", {"key_file": "other.key"}, "starttls", "Correct `ca_file`, `certificate_file` or `key_file`"),
        ("STARTTLS", {"key_file": "one.pem"}, "starttls", "Correct `ca_file`, `certificate_file` or `key_file`"),
        ("refuses at once", {"tls": "none"}, "greeting", "refuses connections from here: ask its operator"),
        ("refuses EHLO", {"tls": "none"}, "ehlo", "does not accept our greeting: see `hostname`"),
        ("plain", {**PLAIN, "password": ""}, "auth", "Put the password into the file"),
        ("plain", {**PLAIN, "password": "wrong"}, "auth", "Correct the user or the password"),
        ("cannot authenticate", {**PLAIN, "password": "right"}, "auth", "cannot authenticate now: try again later"),
    ],
)
async def test_the_mend_fits_what_was_found(
    host: str, action: dict[str, Any], failed_at: str, told: str, certificates: Certificates, tmp_path: Path
) -> None:
    given = dict(action)
    if "password" in given:
        given |= password(tmp_path, given.pop("password"))
    if "key_file" in given:
        given |= certificate_and(given["key_file"], tmp_path)
    async with Mx("smart.test", script=host_of(host, certificates)) as smart:
        is_silent = host == "TLS at once" and failed_at == "greeting"
        finding = await found({**given, **at(smart)}, within_s=SILENCE_S if is_silent else WITHIN_S)

        assert finding.severity is Severity.ERROR
        assert finding.about == f"smart: {smart.address} port {smart.port}"
    assert finding.found.startswith(f"{failed_at}: "), finding
    assert told in finding.mend, finding


async def test_an_issuer_that_fails_is_told_from_one_that_refuses(tmp_path: Path) -> None:
    (file := tmp_path / "secret").write_text("s3cret")
    async with Mx("smart.test", script=Script(users={"ann": "right"})) as smart, TokenIssuer() as issuer:
        oauth = {"kind": "client_credentials", "token_url": issuer.url, "client_id": "app"}
        auth = {"user": "ann", "oauth": {**oauth, "client_secret_file": str(file)}}
        issuer.status = (503, {})
        away = await found({**PLAIN, **at(smart), "auth": auth})
        issuer.status = (401, {"error": "invalid_client"})
        refused = await found({**PLAIN, **at(smart), "auth": auth})

    assert "503" in away.found
    assert away.mend.startswith("The issuer gives no token now")
    assert refused.mend.startswith("Correct the client, its secret or key, or its permission at the issuer")


async def test_a_host_that_is_not_there(tmp_path: Path) -> None:
    gone = await Mx("gone.test").start()
    await gone.stop()

    assert "Correct `host` or `port`, start the host" in (await found({"tls": "none", **at(gone)})).mend
    nowhere = await found({"tls": "none", "hosts": [{"host": "nowhere.test"}]})
    assert nowhere.found == "dns: it has no address"
    assert nowhere.mend == "Correct the name of the host, or publish its address."


async def test_a_mailbox_server_is_named_by_its_socket(tmp_path: Path) -> None:
    socket = tmp_path / "lmtp.sock"

    away = await found({"kind": "lmtp", "socket": str(socket)})
    async with Mx("lmtp.test", str(socket), script=Script(lmtp=True)):
        there = await found({"kind": "lmtp", "socket": str(socket)})

    assert (away.severity, away.about) == (Severity.ERROR, f"smart: {socket}")
    assert away.mend.startswith("Start the mailbox server, or correct `socket`")
    assert (there.severity, there.about) == (Severity.OK, f"smart: {socket}")


def test_the_configuration_is_named_once(tmp_path: Path) -> None:
    (file := tmp_path / "jetpost.yaml").write_text("dns: {timeout_s: soon}\n")
    for content in ("dns: {timeout_s: soon}\n", "[", "- 1\n", None):
        if content is None:
            file.unlink()
        else:
            file.write_text(content)
        result = CliRunner().invoke(app, ["doctor", "--section", "dns", "--config", str(file)])
        (line,) = [it for it in result.output.splitlines() if it.startswith("ERROR configuration: ")]
        assert line.count(str(file)) == 1, line


async def test_the_output_for_people_has_no_log_lines(tmp_path: Path) -> None:
    """The login that a host refuses is an error in the log of a process, and a finding here."""
    async with Mx("smart.test", script=Script(users={"ann": "right"})) as smart:
        action = {"kind": "hosts", **PLAIN, **at(smart), **password(tmp_path, "wrong")}
        (file := tmp_path / "jetpost.yaml").write_text(
            yaml.safe_dump({"delivery": {"routes": [{"name": "smart", "action": action}]}})
        )
        process = await _doctor(file)

    assert "ERROR upstream: smart: " in process
    assert [line for line in process.splitlines() if line.lstrip().startswith("{")] == []


async def _doctor(file: Path) -> str:

    words = [sys.executable, "-m", "jetpost", "doctor", "--section", "delivery", "--config", str(file)]
    process = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=dict(os.environ)
    )
    output, _ = await process.communicate()
    return output.decode()
