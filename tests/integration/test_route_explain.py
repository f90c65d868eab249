"""`jetpost route explain` says what delivery would do, from the same table and the same DNS."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from jetpost.process.dkim.generate import pem
from tests.fixtures.process import Process
from tests.fixtures.zone import ServedZone

PIN = "A" * 43 + "="


def key_file(folder: Path, name: str) -> Path:
    """A key that signs."""
    (file := folder / f"{name}.pem").write_bytes(pem(Ed25519PrivateKey.generate()))
    return file


def configured(folder: Path, names: ServedZone) -> Path:
    """A configuration with some routes, and their hosts in the zone."""
    (password := folder / "password").write_text("secret-word")
    names.add("smart.explained.test", a=["192.0.2.1", "192.0.2.2"])
    names.add("spare.explained.test", aaaa=["2001:db8::1"])
    names.add("mx1.explained.test", a=["192.0.2.25"])
    names.add("dest.explained.test", mx=[(10, "mx1.explained.test"), (20, "gone.explained.test")])
    smart = {
        "kind": "hosts",
        "hosts": [{"host": "smart.explained.test"}, {"host": "missing.explained.test", "preference": 20}],
        "auth": {"user": "jet", "password_file": str(password), "name": "upstream"},
    }
    spare = {"kind": "lmtp", "hosts": [{"host": "spare.explained.test"}]}
    routes = [
        {"name": "closed", "match": {"recipients": ["closed.test"]}, "action": {"kind": "fail", "text": "gone"}},
        {"name": "trap", "match": {"senders": ["trap.test"]}, "action": {"kind": "discard"}},
        {"name": "smart", "match": {"identities": ["ann"], "max_bytes": 1000}, "action": smart, "fallback": spare},
    ]
    (file := folder / "jetpost.yaml").write_text(
        yaml.safe_dump({"dns": {"nameservers": [names.address], "timeout_s": 1}, "delivery": {"routes": routes}})
    )
    return file


async def said(file: Path, *words: str) -> tuple[int, str]:
    """Status and output of the command."""
    command = [sys.executable, "-m", "jetpost", "route", "explain", *words, "--config", str(file)]
    process = Process("route explain", command, file.parent / "printed")
    process.log_file.unlink(missing_ok=True)
    process.launch()
    return await process.gone(), process.log_file.read_text(encoding="utf-8")


async def test_it_says_route_hosts_tls_and_credentials(names: ServedZone, tmp_path: Path) -> None:
    status, printed = await said(
        configured(tmp_path, names), "bob@x.test", "--identity", "ann", "--size", "1000", "--json"
    )

    assert status == 0, printed
    told: dict[str, Any] = json.loads(printed)
    assert (told["route"], told["not_matched"], told["kind"]) == ("smart", ["closed", "trap"], "hosts")
    (host,) = told["hosts"]
    assert (host["host"], host["port"], sorted(host["addresses"])) == (
        "smart.explained.test",
        587,
        ["192.0.2.1", "192.0.2.2"],
    )
    assert told["left_out"] == ["missing.explained.test has no address in DNS"]
    assert (told["tls"], told["verified"]) == ("STARTTLS required", "public CAs")
    assert told["credentials"] == {
        "name": "upstream",
        "user": "jet",
        "mechanisms": ["PLAIN", "LOGIN", "CRAM-MD5"],
    }
    assert told["fallback"]["hosts"] == [{"host": "spare.explained.test", "port": 24, "addresses": ["2001:db8::1"]}]
    assert told["fallback"]["protocol"] == "lmtp"
    assert "secret-word" not in printed


async def test_it_says_where_access_tokens_come_from(names: ServedZone, tmp_path: Path) -> None:
    (secret := tmp_path / "secret").write_text("secret-word")
    oauth = {"tenant": "example.org", "client_id": "app", "client_secret_file": str(secret)}
    action = {"kind": "hosts", "preset": "microsoft-365", "auth": {"user": "ann@example.org", "oauth": oauth}}
    given = {"dns": {"nameservers": [names.address], "timeout_s": 1}}
    (file := tmp_path / "jetpost.yaml").write_text(
        yaml.safe_dump({**given, "delivery": {"routes": [{"name": "microsoft", "action": action}]}})
    )

    status, printed = await said(file, "bob@x.test")

    assert status == 0, printed
    expected = "microsoft (user ann@example.org), XOAUTH2, access tokens from login.microsoftonline.com"
    assert f"login      {expected}" in printed
    assert "secret-word" not in printed


async def test_without_a_match_it_says_what_the_mx_records_say(names: ServedZone, tmp_path: Path) -> None:
    status, printed = await said(
        configured(tmp_path, names), "bob@dest.explained.test", "--identity", "ann", "--size", "1001"
    )

    assert status == 0, printed
    assert "route      none matches: to the MX hosts of the domain" in printed
    assert "host 1     mx1.explained.test port 25: 192.0.2.25" in printed
    assert "left out   gone.explained.test (preference 20): it has no address in DNS" in printed
    assert "TLS        STARTTLS if offered, not verified" in printed


@pytest.mark.parametrize(
    ("words", "result"),
    [
        (["bob@closed.test"], "result     the recipient bounces: 5.7.1 gone"),
        (["bob@x.test", "--from", "eve@trap.test"], "result     the message is discarded, and the sender is not told"),
        (["bob@nowhere.explained.test"], "result     bounces: 5.1.2 domain nowhere.explained.test does not exist"),
    ],
)
async def test_it_says_where_mail_goes_nowhere(
    names: ServedZone, tmp_path: Path, words: list[str], result: str
) -> None:
    status, printed = await said(configured(tmp_path, names), *words)

    assert status == 0, printed
    assert result in printed


async def test_what_is_no_address_is_refused(names: ServedZone, tmp_path: Path) -> None:
    status, printed = await said(configured(tmp_path, names), "bob")

    assert status == 2
    assert "must be an address" in printed


async def test_it_says_limits_pins_certificate_and_the_keys_that_sign(names: ServedZone, tmp_path: Path) -> None:
    names.add("pinned.explained.test", a=["192.0.2.1"], aaaa=["2001:db8::1"])
    for shown in ("client.crt", "client.key"):
        (tmp_path / shown).write_text("is not looked at")
    action = {
        "kind": "hosts",
        "hosts": [{"host": "pinned.explained.test"}],
        "pins": [PIN],
        "certificate_file": str(tmp_path / "client.crt"),
        "key_file": str(tmp_path / "client.key"),
        "source_address": "127.0.0.1",
    }
    keys = [{"domain": "home.test", "selector": it, "file": str(key_file(tmp_path, it))} for it in ("s1", "s2")]
    built = {
        "dns": {"nameservers": [names.address], "timeout_s": 1},
        "dkim": {"keys": keys},
        "delivery": {"routes": [{"name": "smart", "connections": 3, "action": action}]},
    }
    (file := tmp_path / "jetpost.yaml").write_text(yaml.safe_dump(built))

    status, printed = await said(file, "bob@x.test", "--from", "ann@sub.home.test")

    assert status == 0, printed
    for line in (
        "TLS        STARTTLS required, a pinned key",
        f"pins       {PIN}",
        f"shows      {tmp_path / 'client.crt'}",
        "host 1     pinned.explained.test port 25: 192.0.2.1",
        "left out   2001:db8::1 of pinned.explained.test: it cannot be reached from the source address 127.0.0.1",
        "limits     attempts at a time in a process: 3 of the route, 20 of a domain",
        "back-off   30 s, up to 900 s, while hosts throttle it",
        "signed by  s1._domainkey.home.test (ed25519-sha256)",
        "signed by  s2._domainkey.home.test (ed25519-sha256)",
    ):
        assert line in printed.splitlines()

    status, printed = await said(file, "bob@x.test", "--header-from", "ann@other.test", "--json")
    assert status == 0, printed
    told = json.loads(printed)
    assert told["signing"] == {
        "author_domain": "other.test",
        "keys": [],
        "why": "no key signs for authors at other.test",
    }
    assert told["limits"]["connections"] == 3

    (tmp_path / "s1.pem").unlink()  # in a cluster delivery does not have the keys
    status, printed = await said(file, "bob@x.test", "--from", "ann@home.test")
    assert status == 0, printed
    (why,) = [line for line in printed.splitlines() if line.startswith("signed by  no key: ")]
    assert "unknown, as this process cannot use the keys" in why
    assert "dkim.keys.0.file: cannot read" in why


async def test_it_says_why_mx_hosts_and_addresses_are_left_out(names: ServedZone, tmp_path: Path) -> None:
    names.add("better.own.test", a=[f"192.0.2.{number}" for number in range(10, 17)])
    names.add("ipv6.own.test", aaaa=["2001:db8::2"])
    names.add("ours.own.test", a=["198.51.100.1"])
    names.add("jetpost.own.test", a=["198.51.100.9"])
    names.add("worse.own.test", a=["192.0.2.20"])
    hosts = ("better", "ipv6", "ours", "jetpost", "worse")
    names.add("own.test", mx=[(10 * number, f"{host}.own.test") for number, host in enumerate(hosts, 1)])
    built = {
        "hostname": "jetpost.own.test",
        "dns": {"nameservers": [names.address], "timeout_s": 1},
        "delivery": {"route": {"own_addresses": ["198.51.100.1"]}, "attempt": {"source_address": "127.0.0.1"}},
    }
    (file := tmp_path / "jetpost.yaml").write_text(yaml.safe_dump(built))

    status, printed = await said(file, "bob@own.test")

    assert status == 0, printed
    left_out = [line.removeprefix("left out   ") for line in printed.splitlines() if line.startswith("left out")]
    assert left_out == [
        "3 of the 7 addresses of better.own.test, by chance: they are beyond delivery.route.addresses_max (4)",
        "ipv6.own.test (preference 20): it has no address that can be reached from 127.0.0.1",
        "ours.own.test (preference 30): 198.51.100.1 is this system (delivery.route.own_addresses)",
        "jetpost.own.test (preference 40): it is this system, by its name",
        "worse.own.test (preference 50): it is not better than this system, which has preference 30",
    ]
