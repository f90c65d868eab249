"""`jetpost dkim`: keys are made, their records printed, and compared with what DNS says."""

import asyncio
import re
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from typer.testing import CliRunner, Result

from jetpost.cli.config.signing import signing
from jetpost.cli.dkim.commands import dkim_app
from jetpost.dns.resolver import Dns
from jetpost.doctor.keys import keys_of
from jetpost.process.dkim.settings import Dkim
from jetpost.sign.dkim import Unsigned, signable_of, signatures
from jetpost.sign.keys import KeyRing, PrivateKey, SigningKey, private_key
from jetpost.sign.record import Finding, finding, record_text, strings_of
from tests.fixtures.dkim import ed25519_pem, rsa_pem, verdicts
from tests.fixtures.zone import ServedZone
from tests.fixtures.zone import zone as a_zone

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
RSA, OTHER_RSA, ED25519 = private_key(rsa_pem()), private_key(rsa_pem(1)), private_key(ed25519_pem())


zone = a_zone


def run(*arguments: str | Path, environ: Mapping[str, str] | None = None) -> Result:
    return CliRunner().invoke(dkim_app, [str(argument) for argument in arguments], env=environ)


def published(line: str) -> tuple[str, str]:
    """The name of a record in a zone file, and its strings joined."""
    found = re.fullmatch(r'(\S+)\. IN TXT \( ((?:"[^"]*" ?)+)\)', line.strip())
    assert found is not None, line
    strings = re.findall(r'"([^"]*)"', found[2])
    assert all(len(string) <= 255 for string in strings)
    return found[1], "".join(strings)


@pytest.mark.parametrize("options", [[], ["--kind", "rsa", "--bits", "3072"], ["--kind", "ed25519"]])
def test_a_new_key_signs_and_its_printed_record_verifies(tmp_path: Path, options: list[str]) -> None:
    file = tmp_path / "key"

    made = run("new", "Bücher.example", "S2026", file, *options)

    assert made.exit_code == 0
    name, text = published(made.stdout)
    assert name == "s2026._domainkey.xn--bcher-kva.example"
    assert file.stat().st_mode & 0o777 == 0o600
    keys = KeyRing([SigningKey("xn--bcher-kva.example", "s2026", private_key(file.read_bytes()))])
    letter = "From: ann@bücher.example\r\n\r\nx\r\n".encode()
    lines = signatures(signable_of(letter), (), keys, NOW)
    assert not isinstance(lines, Unsigned)
    message = f"DKIM-Signature: {lines[0].value}\r\n".encode() + letter
    assert verdicts(message, {f"{name}.".encode(): text.encode()}) == [True]


def test_in_a_folder_a_key_gets_the_name_of_its_record(tmp_path: Path) -> None:
    assert run("new", "Bücher.example", "S2026", tmp_path, "--kind", "ed25519").exit_code == 0
    assert [it.name for it in tmp_path.iterdir()] == ["s2026._domainkey.xn--bcher-kva.example.pem"]
    assert run("new", "Bücher.example", "S2026", tmp_path, "--kind", "ed25519").exit_code == 1


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(rsa_pem())

    assert run("new", "example.org", "s", file).exit_code == 1
    assert file.read_bytes() == rsa_pem()


@pytest.mark.parametrize(
    "arguments", [("-", "s"), ("example.org", "a b"), ("example.org", "s", "--bits", "1024"), ("example.org", "")]
)
def test_what_would_not_work_is_refused(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    domain, selector, *options = arguments

    assert run("new", domain, selector, tmp_path / "key", *options).exit_code != 0
    assert not (tmp_path / "key").exists()


def inner_part(key: PrivateKey) -> str:
    """As some publish an RSA key."""
    return b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)).decode()


RECORD = record_text(RSA)


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        ([RECORD], Finding.MATCHES),
        ([RECORD + ";"], Finding.MATCHES),
        ([RECORD.replace("v=DKIM1; k=rsa; ", "")], Finding.MATCHES),
        ([f"v=DKIM1; h=sha1:sha256; s=*; n=note; p={inner_part(RSA)}"], Finding.MATCHES),
        ([RECORD.replace("p=", "t=s; s=email; p = ").replace("AAOC", "AA OC")], Finding.MATCHES),
        ([], Finding.ABSENT),
        ([RECORD, RECORD], Finding.SEVERAL),
        ([RECORD, "v=spf1 -all"], Finding.SEVERAL),
        (["v=spf1 -all"], Finding.MALFORMED),
        ([""], Finding.MALFORMED),
        ([RECORD.replace("DKIM1", "DKIM2")], Finding.MALFORMED),
        (["v=DKIM1; k=rsa"], Finding.MALFORMED),
        ([RECORD + "; p=x"], Finding.MALFORMED),
        (["v=DKIM1; p="], Finding.REVOKED),
        ([record_text(ED25519)], Finding.OTHER_KIND),
        ([record_text(OTHER_RSA)], Finding.OTHER_KEY),
        ([RECORD[:-4]], Finding.OTHER_KEY),
        ([RECORD.replace("k=", "h=sha1; k=")], Finding.NO_SHA256),
        ([RECORD.replace("k=", "s=tlsrpt; k=")], Finding.NO_MAIL),
        ([RECORD.replace("k=", "t=s:y; k=")], Finding.TESTING),
    ],
)
def test_what_a_record_says_of_a_key(texts: list[str], found: Finding) -> None:
    assert finding(texts, RSA) is found


@pytest.fixture
def configuration(tmp_path: Path, zone: ServedZone) -> Path:
    for name, pem in (("r", rsa_pem()), ("e", ed25519_pem())):
        (tmp_path / name).write_bytes(pem)
    keys = [
        {"domain": domain, "selector": name, "file": str(tmp_path / name)}
        for domain, name in (("a.test", "r"), ("a.test", "e"), ("b.test", "r"))
    ]
    file = tmp_path / "jetpost.yaml"
    dns = {"nameservers": [zone.address], "lifetime_s": 2, "timeout_s": 1}
    file.write_text(yaml.safe_dump({"dkim": {"keys": keys}, "dns": dns}))
    return file


def test_the_records_of_configured_keys_are_shown(configuration: Path) -> None:
    shown = run("show", "--config", configuration)

    assert shown.exit_code == 0
    assert [published(line) for line in shown.stdout.splitlines()] == [
        ("r._domainkey.a.test", record_text(RSA)),
        ("e._domainkey.a.test", record_text(ED25519)),
        ("r._domainkey.b.test", record_text(RSA)),
    ]
    assert len(run("show", "b.test", "--config", configuration).stdout.splitlines()) == 1
    assert run("show", "c.test", "--config", configuration).exit_code == 1


async def checked(configuration: Path, *arguments: str) -> tuple[int, list[str]]:
    """The exit status, and the lines about keys. The name server lives in this loop, so the command has a thread."""
    done = await asyncio.to_thread(run, "check", *arguments, "--config", configuration)
    return done.exit_code, [line for line in done.stdout.splitlines() if not line.startswith(" ")]


async def test_what_dns_says_is_compared(configuration: Path, zone: ServedZone) -> None:
    zone.add("r._domainkey.a.test", txt=[record_text(RSA)])
    zone.add("e._domainkey.a.test", txt=[record_text(ED25519)])
    assert await checked(configuration, "a.test") == (
        0,
        ["r._domainkey.a.test: matches; signs", "e._domainkey.a.test: matches; signs"],
    )
    assert await checked(configuration) == (
        1,
        [
            "r._domainkey.a.test: matches; signs",
            "e._domainkey.a.test: matches; signs",
            "r._domainkey.b.test: no such record; signs",
        ],
    )

    zone.add("r._domainkey.b.test", txt=[record_text(OTHER_RSA)])
    assert await checked(configuration, "b.test") == (1, ["r._domainkey.b.test: `p=` is another key; signs"])
    zone.add("r._domainkey.b.test", cname="r._domainkey.a.test")
    assert await checked(configuration, "b.test") == (0, ["r._domainkey.b.test: matches; signs"])


async def test_no_answer_is_not_a_missing_record(configuration: Path, zone: ServedZone) -> None:
    zone.fail("r._domainkey.b.test")

    status, (line,) = await checked(configuration, "b.test")

    assert status == 1
    assert line.startswith("r._domainkey.b.test: cannot look up: ")


async def test_keys_that_verifiers_ignore_do_not_sign_and_that_is_said(tmp_path: Path, zone: ServedZone) -> None:
    for number in range(5):
        (tmp_path / f"s{number}._domainkey.a.test.pem").write_bytes(ed25519_pem(number))
        key = private_key(ed25519_pem(number))
        zone.add(f"s{number}._domainkey.a.test", txt=[record_text(key)])
    (file := tmp_path / "jetpost.yaml").write_text(
        yaml.safe_dump({"dkim": {"folder": str(tmp_path)}, "dns": {"nameservers": [zone.address]}})
    )

    checked = await asyncio.to_thread(run, "check", "--config", file)
    for_doctor = keys_of(Dkim(folder=tmp_path))
    explained = await asyncio.to_thread(signing, file, tmp_path, Dns(nameservers=(zone.address,)), "a.test")

    *signs, other = checked.stdout.splitlines()
    assert [line.endswith("; signs") for line in signs] == [True] * 4
    assert other == "s4._domainkey.a.test: matches; does not sign: verifiers look at 4 keys of a domain"
    selectors = ["s0", "s1", "s2", "s3"]
    assert [key.selector for key in for_doctor.ring.keys_for("a.test")] == selectors
    assert [key["selector"] for key in explained["keys"]] == selectors


async def test_keys_that_this_process_cannot_use_are_not_no_keys(tmp_path: Path, zone: ServedZone) -> None:
    (tmp_path / "s._domainkey.a.test.pem").write_text("nothing")
    (file := tmp_path / "jetpost.yaml").write_text(yaml.safe_dump({"dkim": {"folder": str(tmp_path)}}))

    explained = await asyncio.to_thread(signing, file, tmp_path, Dns(nameservers=(zone.address,)), "a.test")

    assert explained["keys"] == []
    assert explained["why"].startswith("unknown, as this process cannot use the keys: ")
    assert "s._domainkey.a.test.pem: the key cannot be used: it is no private key in PEM" in explained["why"]


def test_long_records_are_split() -> None:
    assert [len(string) for string in strings_of(RECORD)] == [255, len(RECORD) - 255]
    assert len(strings_of(record_text(ED25519))) == 1
