"""`jetpost doctor`: what it finds out about a sender domain and an installation, and that what it proposes mends it."""

import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from typer.testing import CliRunner

from jetpost.cli.main import app
from jetpost.config.load import load
from jetpost.dns.resolver import Dns
from jetpost.doctor.examine import Examination, Installation, examine, read
from jetpost.doctor.finding import KINDS, Finding, Severity, worst
from jetpost.doctor.installation import check_certificate
from jetpost.process.dkim.settings import Dkim, DkimKey
from tests.conftest import MakeMx
from tests.fixtures.certificates import Certificates
from tests.fixtures.dkim import ed25519_pem, record, rsa_pem, signing_keys
from tests.fixtures.mx import Mx
from tests.fixtures.mx_script import Script
from tests.fixtures.sender_zones import IP, NONE, txt
from tests.fixtures.system import System
from tests.fixtures.zone import ServedZone, served

HOST = "out.dest.test"
RSA, ED25519 = signing_keys("dest.test")
SOUND: Mapping[str, Mapping[str, Any]] = {
    "dest.test": {"txt": ["v=spf1 ip4:192.0.2.1 -all"], "mx": [(10, "mx.dest.test")]},
    "mx.dest.test": {"a": ["192.0.2.5"]},
    "_dmarc.dest.test": txt(NONE),
    HOST: {"a": [IP], "txt": ["v=spf1 a -all"]},
    "1.2.0.192.in-addr.arpa": {"ptr": [HOST]},
    "r._domainkey.dest.test": txt(record(RSA.private, "rsa").decode()),
    "e._domainkey.dest.test": txt(record(ED25519.private, "ed25519").decode()),
}
"""A domain and an address at which nothing is wrong."""
GONE: Mapping[str, Any] = {}
FAILS = {"rcode": "SERVFAIL"}


@asynccontextmanager
async def serving(changes: Mapping[str, Mapping[str, Any]]) -> AsyncIterator[ServedZone]:
    """The sound zone with changes; a name with nothing is not there."""
    async with served() as zone:
        for name, fields in {**SOUND, **changes}.items():
            if fields:
                zone.add(name, **fields)
        yield zone


def installed(zone: ServedZone, folder: Path, keys: Sequence[str]) -> Installation:
    files = {"r": rsa_pem(), "e": ed25519_pem()}
    for name in keys:
        (folder / name).write_bytes(files[name])
    configured = tuple(DkimKey(domain="dest.test", selector=name, file=folder / name) for name in keys)
    dns = Dns(nameservers=(zone.address,), timeout_s=0.5, lifetime_s=20, failure_ttl_s=0, ttl_min_s=0, cache_size=0)
    return Installation(HOST, {"dns": dns, "dkim": Dkim(keys=configured)})


def faults(findings: Sequence[Finding]) -> dict[str, str]:
    """What is not ok, by its id; the worst of several."""
    ordered = sorted(findings, key=lambda it: list(Severity).index(it.severity))
    return {it.id: str(it.severity) for it in ordered if it.severity is not Severity.OK}


DOMAINS: dict[str, tuple[Mapping[str, Mapping[str, Any]], str, dict[str, str]]] = {
    # name: changes of the zone, keys, faults
    "nothing is wrong": ({}, "re", {}),
    "null MX": ({"dest.test": {**SOUND["dest.test"], "mx": [(0, ".")]}}, "re", {"domain": "error"}),
    "no MX, an address": ({"dest.test": {"txt": SOUND["dest.test"]["txt"], "a": [IP]}}, "re", {"domain": "warning"}),
    "no MX, no address": ({"dest.test": {"txt": SOUND["dest.test"]["txt"]}}, "re", {"domain": "error"}),
    "an MX without an address": ({"mx.dest.test": GONE}, "re", {"domain": "error"}),
    "one of two MX without an address": (
        {"dest.test": {**SOUND["dest.test"], "mx": [(1, "mx.dest.test"), (2, "no.dest.test")]}},
        "re",
        {"domain": "warning"},
    ),
    "no such domain": (
        dict.fromkeys(SOUND, GONE),
        "",
        dict.fromkeys(("domain", "reverse-dns"), "error")
        | dict.fromkeys(("spf", "dkim", "dmarc", "alignment"), "skipped")
        | dict.fromkeys(("ehlo-name", "spf-ehlo"), "warning"),
    ),
    "no SPF": ({"dest.test": {"mx": SOUND["dest.test"]["mx"]}}, "re", {"spf": "error"}),
    "SPF of another address": (
        {"dest.test": {**SOUND["dest.test"], "txt": ["v=spf1 ip4:198.51.100.1 mx ~all"]}},
        "re",
        {"spf": "error"},
    ),
    "two SPF records": (
        {"dest.test": {**SOUND["dest.test"], "txt": ["v=spf1 -all", "v=spf1 ip4:192.0.2.1 -all"]}},
        "re",
        {"spf": "error"},
    ),
    "nine look-ups": (
        {"dest.test": {**SOUND["dest.test"], "txt": ["v=spf1" + " a:mx.dest.test" * 9 + " ip4:192.0.2.1 -all"]}},
        "re",
        {"spf-limits": "warning"},
    ),
    "no key": ({}, "", {"dkim": "warning"}),
    "no key, no SPF": (
        {"dest.test": {"mx": SOUND["dest.test"]["mx"]}},
        "",
        {"dkim": "warning", "spf": "error", "alignment": "error"},
    ),
    "a key without a record": ({"r._domainkey.dest.test": GONE}, "re", {"dkim": "error"}),
    "a record of another key": ({"r._domainkey.dest.test": SOUND["e._domainkey.dest.test"]}, "r", {"dkim": "error"}),
    "a revoked key": ({"r._domainkey.dest.test": txt("v=DKIM1; p=")}, "r", {"dkim": "error"}),
    "Ed25519 alone": ({}, "e", {"dkim-algorithm": "warning"}),
    "no DMARC": ({"_dmarc.dest.test": GONE}, "re", {"dmarc": "error"}),
    "two DMARC records": ({"_dmarc.dest.test": txt(NONE, "v=DMARC1; p=reject")}, "re", {"dmarc": "error"}),
    "DMARC that is misspelt": ({"_dmarc.dest.test": txt("v=DMARC1; p=nothing")}, "re", {"dmarc": "error"}),
    "DMARC without p": (
        {"_dmarc.dest.test": txt("v=DMARC1; rua=mailto:r@dest.test")},
        "re",
        {"dmarc": "warning"},
    ),
    "reports to a stranger": (
        {"_dmarc.dest.test": txt("v=DMARC1; p=none; rua=mailto:r@reports.example")},
        "re",
        {"dmarc-reports": "warning"},
    ),
    "reports to somebody who agrees": (
        {
            "_dmarc.dest.test": txt("v=DMARC1; p=none; rua=mailto:r@reports.example"),
            "dest.test._report._dmarc.reports.example": txt("v=DMARC1;"),
        },
        "re",
        {},
    ),
    "no PTR": ({"1.2.0.192.in-addr.arpa": GONE}, "re", {"reverse-dns": "error"}),
    "a PTR that is not confirmed": (
        {"1.2.0.192.in-addr.arpa": {"ptr": ["elsewhere.test"]}},
        "re",
        {"reverse-dns": "error"},
    ),
    "a PTR of another name": (
        {"1.2.0.192.in-addr.arpa": {"ptr": ["host.test"]}, "host.test": {"a": [IP]}},
        "re",
        {"ehlo-name": "warning"},
    ),
    "a name without an address": (
        {
            HOST: {"txt": ["v=spf1 ip4:192.0.2.1 -all"]},
            "1.2.0.192.in-addr.arpa": {"ptr": ["host.test"]},
            "host.test": {"a": [IP]},
        },
        "re",
        {"ehlo-name": "warning"},
    ),
    "no SPF for the EHLO name": ({HOST: {"a": [IP]}}, "re", {"spf-ehlo": "warning"}),
    "SPF of the EHLO name fails": ({HOST: {"a": [IP], "txt": ["v=spf1 -all"]}}, "re", {"spf-ehlo": "warning"}),
    # What cannot be looked up is not known, and so an error.
    "SPF that nobody answers": ({"dest.test": FAILS}, "re", {"domain": "error", "spf": "error"}),
    "MX hosts that nobody answers": ({"mx.dest.test": FAILS}, "re", {"domain": "error"}),
    "reports that nobody answers": (
        {
            "_dmarc.dest.test": txt("v=DMARC1; p=none; rua=mailto:r@reports.example"),
            "dest.test._report._dmarc.reports.example": FAILS,
        },
        "re",
        {"dmarc-reports": "error"},
    ),
    "a name that nobody answers": (
        {HOST: FAILS},
        "re",
        dict.fromkeys(("reverse-dns", "ehlo-name", "spf-ehlo"), "error"),
    ),
    "DMARC that nobody answers": (
        {"_dmarc.dest.test": FAILS},
        "re",
        {"dmarc": "error", "alignment": "error"},
    ),
    "a key that nobody answers": ({"r._domainkey.dest.test": FAILS}, "re", {"dkim": "error"}),
    "PTR that nobody answers": ({"1.2.0.192.in-addr.arpa": FAILS}, "re", {"reverse-dns": "error"}),
}
ASKED = Examination("dest.test", (IP,), domain_only=True)


@pytest.mark.parametrize("name", DOMAINS)
async def test_what_is_wrong_with_a_domain(name: str, tmp_path: Path) -> None:
    changes, keys, expected = DOMAINS[name]

    async with serving(changes) as zone:
        findings = await examine(installed(zone, tmp_path, keys), ASKED)

    assert faults(findings) == expected, findings
    assert all(it.mend for it in findings if it.severity in {Severity.WARNING, Severity.ERROR})


@pytest.mark.parametrize("name", [name for name, (_, _, found) in DOMAINS.items() if "error" in found.values()])
async def test_what_is_to_be_published_mends_it(name: str, tmp_path: Path) -> None:
    changes, keys, _ = DOMAINS[name]
    async with serving(changes) as zone:
        system = installed(zone, tmp_path, keys)
        before = await examine(system, ASKED)
        proposed = [it for it in before if it.publish]
        _publish(zone, {**SOUND, **changes}, [line for it in proposed for line in it.publish])

        after = await examine(system, ASKED)

    still = {it.id for it in after if it.severity is not Severity.OK}
    assert not still & {it.id for it in proposed}, after


def _publish(zone: ServedZone, nodes: Mapping[str, Mapping[str, Any]], lines: Sequence[str]) -> None:
    """Do what an operator does: put each line into the zone, in place of a record of that kind."""
    nodes = dict(nodes)
    for line in lines:
        name, kind, value = re.fullmatch(r"(\S+)\. IN (\S+) (.*)", line).groups()  # type: ignore[union-attr]
        if kind == "TXT":
            strings = re.findall(r'"([^"]*)"', value)
            assert all(len(it) <= 255 for it in strings)
            others = [it for it in nodes.get(name, {}).get("txt", ()) if not it.startswith("v=")]
            value = [*others, "".join(strings)]
        else:
            value = [value.removesuffix(".")]
        nodes[name] = {**nodes.get(name, {}), kind.lower(): value}
        zone.add(name, **nodes[name])


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("null MX", "domain", "null MX"),
        ("an MX without an address", "domain", "no MX host has an address: mx.dest.test"),
        ("two SPF records", "spf", "has 2 SPF records"),
        ("SPF of another address", "spf", "softfail: `~all`"),
        ("a revoked key", "dkim", "revoked"),
        ("two DMARC records", "dmarc", "2 DMARC records"),
        ("DMARC that is misspelt", "dmarc", "no valid DMARC record: v=DMARC1; p=nothing"),
        ("reports to a stranger", "dmarc-reports", "reports.example does not agree"),
        ("a PTR that is not confirmed", "reverse-dns", "elsewhere.test does not resolve to it"),
        ("a PTR of another name", "ehlo-name", "another name: host.test"),
    ],
)
async def test_a_finding_says_what_was_found(name: str, kind: str, words: str, tmp_path: Path) -> None:
    changes, keys, _ = DOMAINS[name]

    async with serving(changes) as zone:
        findings = await examine(installed(zone, tmp_path, keys), ASKED)

    assert any(words in it.found for it in findings if it.id == kind and it.severity is not Severity.OK), findings


async def test_a_silent_name_server_holds_no_other_check(tmp_path: Path) -> None:
    async with serving({"_dmarc.dest.test": {"silent": True}}) as zone:
        findings = await examine(installed(zone, tmp_path, "re"), ASKED._replace(within_s=2))

    unfinished = {it.about: (it.severity, it.found) for it in findings if it.id == "unfinished"}
    late = (Severity.ERROR, "no result within 2 s")
    assert unfinished == {"DMARC of dest.test": late, "alignment of dest.test": late}
    assert {it.id for it in findings if it.severity is Severity.OK} >= {"domain", "spf", "dkim", "reverse-dns"}


async def test_without_a_domain_those_with_keys_are_checked(tmp_path: Path) -> None:
    async with serving({}) as zone:
        findings = await examine(installed(zone, tmp_path, "r"), ASKED._replace(domain=""))

    assert {it.about for it in findings if it.id == "domain"} == {"dest.test"}
    assert worst(findings) is Severity.OK


def test_each_finding_is_of_a_known_kind() -> None:
    source = "".join(path.read_text() for path in Path("jetpost/doctor").glob("*.py"))
    used = set(re.findall(r'(?:error|warning|ok|skipped|unchecked)\(\s*"([a-z-]+)"', source))

    assert used == set(KINDS)


# The installation


def test_dead_name_servers_are_an_error_for_the_exit_status(tmp_path: Path) -> None:
    dns = {"nameservers": ["127.0.0.1:1"], "timeout_s": 0.2, "lifetime_s": 1}
    (file := tmp_path / "jetpost.yaml").write_text(yaml.safe_dump({"dns": dns, "hostname": HOST}))
    options = ["--fail-on", "error", "--domain-only", "--section", "dns", "--from-ip", IP, "--config", str(file)]

    result = CliRunner().invoke(app, ["doctor", "dest.test", *options])

    assert result.exit_code == 2, result.output
    not_known = {line.split(":")[0].split()[-1] for line in result.output.splitlines() if ": not known: " in line}
    assert not_known == {"domain", "spf", "dmarc", "reverse-dns", "alignment", "ehlo-name", "spf-ehlo"}, result.output


def _changed(system: System, folder: Path, **sections: Mapping[str, Any]) -> Installation:
    """The configuration of a running system, with other values."""
    written = yaml.safe_load(system.configuration_file.read_text())
    for name, values in sections.items():
        written[name] = {**written.get(name, {}), **values}
    (file := folder / "jetpost.yaml").write_text(yaml.safe_dump(written))
    return read(file, {})


def _routes(folder: Path, *hosts: Mx, password: str) -> dict[str, Any]:
    (file := folder / "password").write_text(password)
    auth = {"user": "ann", "password_file": str(file)}
    action = {"kind": "hosts", "tls": "none", "insecure_auth": True, "auth": auth}
    return {
        "routes": [
            {
                "name": f"smart-{n}",
                "match": {"recipients": [f"{n}.test"]},
                "action": {**action, "hosts": [{"host": host.address, "port": host.port}]},
            }
            for n, host in enumerate(hosts)
        ]
    }


async def test_a_sound_installation(system: System, mx: MakeMx, tmp_path: Path) -> None:
    await mx("reachable.test")
    async with Mx("smart.test", script=Script(users={"ann": "right"})) as smart:
        installation = _changed(
            system, tmp_path, delivery=_delivery(system, _routes(tmp_path, smart, password="right"))
        )

        findings = await examine(installation, Examination(mx_of="reachable.test"))

        assert [it for it in findings if it.severity is Severity.ERROR] == []
        fine = {it.id: it.found for it in findings if it.severity is Severity.OK}
        assert {"configuration", "nats", "replicas", "storage", "clock", "upstream", "port", "tls"} <= set(fine), (
            findings
        )
        assert "authenticated as ann" in fine["upstream"]
        assert smart.connections == 1
        assert smart.messages == [], "nothing is sent"


async def test_an_installation_with_mistakes(system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jetpost.doctor.installation.CONNECT_S", 0.5)
    gone = await Mx("gone.test").start()
    await gone.stop()
    async with Mx("smart.test", script=Script(users={"ann": "right"})) as smart:
        delivery = _delivery(system, _routes(tmp_path, smart, gone, password="wrong"))
        installation = _changed(
            system, tmp_path, delivery=delivery, ingress={"drain_s": "soon"}, nats={"servers": ["nats://127.0.0.1:1"]}
        )

        findings = await examine(installation, Examination(within_s=20))

    errors = {it.id: it for it in findings if it.severity is Severity.ERROR}
    upstream = {it.about.partition(":")[0]: it.found for it in findings if it.id == "upstream"}
    assert set(errors) == {"configuration", "nats", "upstream"}, findings
    assert "ingress.drain_s" in errors["configuration"].found
    assert "535" in upstream["smart-0"]
    assert upstream["smart-1"].startswith("connect: ")


async def test_what_is_missing_of_the_queue_is_told(system: System, tmp_path: Path) -> None:
    queue = {**yaml.safe_load(system.configuration_file.read_text())["queue"], "replicas": 3}
    delivery = _delivery(system, {"attempt": {"tls": "none"}})

    findings = await examine(_changed(system, tmp_path, queue=queue, delivery=delivery), Examination())

    assert [it.severity for it in findings if it.id == "tls"] == [Severity.ERROR]

    assert {it.severity for it in findings if it.id == "replicas"} == {Severity.WARNING}
    assert {it.severity for it in findings if it.id == "port"} == {Severity.SKIPPED}


def _delivery(system: System, changes: Mapping[str, Any]) -> dict[str, Any]:
    return {**yaml.safe_load(system.configuration_file.read_text())["delivery"], **changes}


async def test_a_fresh_installation_without_a_sender_domain_has_no_errors(system: System) -> None:
    sections = [f"--section={it}" for it in ("dns", "nats", "queue")]  # as in the chart's test pod

    status, printed = await system.command("doctor", "--fail-on=error", *sections)

    assert status == 0, printed
    assert "ok    nats: " in printed
    assert "ok    replicas: MAIL: 1 of 1 replicas are current" in printed
    assert "ERROR" not in printed


async def test_the_command_says_it_as_json(system: System) -> None:
    status, printed = await system.command("doctor", "no.test", "--from-ip", IP, "--json")

    told = json.loads(printed)
    assert (status, told["worst"]) == (2, "error")
    assert {it["id"] for it in told["findings"]} >= {"domain", "spf", "dmarc", "reverse-dns", "nats", "clock"}
    assert next(it["mend"] for it in told["findings"] if it["id"] == "domain").startswith("Check the spelling, or reg")
    assert [it["severity"] for it in told["findings"] if it["id"] in {"spf", "dkim", "dmarc", "alignment"}] == (
        ["skipped"] * 4
    )


@pytest.mark.parametrize(
    ("hostname", "days", "expected"),
    [
        ("localhost", 0, {"ok"}),
        ("LOCALHOST", 0, {"ok"}),
        ("mail.example.org", 0, {"ok", "warning"}),
        ("localhost", 400_000, {"error"}),
        ("localhost", -100_000, {"error"}),
    ],
)
async def test_the_certificate(hostname: str, days: int, expected: set[str], certificates: Certificates) -> None:
    then = datetime.now(UTC) + timedelta(days=days)

    findings = await check_certificate(certificates.certificate_file, hostname, then)

    assert {str(it.severity) for it in findings} == expected, findings


async def test_a_certificate_that_expires_soon(certificates: Certificates) -> None:
    leaf = x509.load_pem_x509_certificates(certificates.certificate_file.read_bytes())[0]
    assert leaf.public_bytes(Encoding.PEM)

    findings = await check_certificate(
        certificates.certificate_file, "localhost", leaf.not_valid_after_utc - timedelta(days=3)
    )

    assert [it.severity for it in findings] == [Severity.WARNING]


def test_the_exit_status_says_how_bad_it_is(tmp_path: Path) -> None:
    (file := tmp_path / "jetpost.yaml").write_text("ingress: {postmaster: a@b.example}\nlog: {level: nonsense}\n")
    sections = ["--section", "ingress", "--config", str(file)]

    assert CliRunner().invoke(app, ["doctor", *sections]).exit_code == 0
    file.write_text("ingress: {}\n")
    assert CliRunner().invoke(app, ["doctor", *sections]).exit_code == 1
    assert CliRunner().invoke(app, ["doctor", "--fail-on", "error", *sections]).exit_code == 0
    file.write_text("ingress: {postmaster: nobody}\n")
    assert CliRunner().invoke(app, ["doctor", "--fail-on", "error", *sections]).exit_code == 2
    for wrong in (["--from-ip", "x"], ["--section", "x"], ["--mx-of", "a b"], ["a..b"]):
        result = CliRunner().invoke(app, ["doctor", *wrong])
        assert result.exit_code == 2
        assert "must be" in result.output or "there are" in result.output
    assert load(None, {}, sections=("dns",)).section("dns") == Dns()
