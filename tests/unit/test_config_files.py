"""`jetpost config check` says of each file and each setting that cannot work, or seldom does, what is wrong."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from jetpost.cli.config.commands import config_app
from jetpost.config.load import load
from jetpost.doctor.examine import read
from jetpost.doctor.finding import Severity
from jetpost.doctor.installation import remarks
from jetpost.up.certificate import self_signed
from tests.fixtures.dkim import ed25519_pem

Action = dict[str, Any]


def secret(folder: Path, name: str, content: bytes, mode: int = 0o600) -> str:
    (file := folder / name).write_bytes(content)
    file.chmod(mode)
    return str(file)


def checked(folder: Path, **sections: Any) -> tuple[int, str]:
    """The exit status and the output of the command."""
    (file := folder / "jetpost.yaml").write_text(yaml.safe_dump({"ingress": {"postmaster": "a@b.test"}, **sections}))
    result = CliRunner().invoke(config_app, ["check", str(file)])
    return result.exit_code, result.output


def routes(action: Action, **match: Any) -> dict[str, Any]:
    rule = {"name": "smart", "action": {"kind": "hosts", "hosts": [{"host": "smart.test"}], **action}}
    return {"routes": [rule | ({"match": match} if match else {})]}


def password(content: bytes) -> Callable[[Path], Action]:
    return lambda folder: {"auth": {"user": "ann", "password_file": secret(folder, "password", content)}}


def ca(content: bytes) -> Callable[[Path], Action]:
    return lambda folder: {"ca_file": secret(folder, "ca.pem", content)}


def pair(folder: Path, key: str) -> Action:
    for name in ("one", "other"):
        self_signed("client.test", folder / f"{name}.pem", folder / f"{name}.key")
    return {"certificate_file": str(folder / "one.pem"), "key_file": str(folder / key)}


def issuer_ca(folder: Path) -> Action:
    secrets = {"client_id": "app", "client_secret_file": secret(folder, "secret", b"s3cret")}
    oauth = {"token_url": "https://issuer.test/token", "ca_file": secret(folder, "ca.pem", b"none"), **secrets}
    return {"auth": {"user": "ann", "oauth": {"kind": "client_credentials", **oauth}}}


FAULTS: dict[str, tuple[Callable[[Path], Action], str]] = {
    "an empty password": (password(b""), "auth.password_file: cannot use {folder}/password: it is empty"),
    "a password that is a line end": (password(b"\r\n\n"), "it is empty"),
    "a password with NUL": (password(b"a\0b"), "it has a NUL character"),
    "a password that is no text": (password(b"\xff\xfe"), "auth.password_file: cannot use {folder}/password: "),
    "a CA file without a certificate": (
        ca(b"hello\n"),
        "ca_file: cannot use {folder}/ca.pem: it has no certificate (PEM)",
    ),
    "an empty CA file": (ca(b""), "it has no certificate (PEM)"),
    "a CA file with a key": (ca(ed25519_pem()), "it has no certificate (PEM)"),
    "a broken CA certificate": (
        ca(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        "it has no certificate (PEM)",
    ),
    "the CA file of an issuer": (issuer_ca, "auth.oauth.ca_file: cannot use {folder}/ca.pem: it has no certificate"),
    "a key of another certificate": (lambda it: pair(it, "other.key"), "the key is of another certificate"),
    "a certificate as a key": (lambda it: pair(it, "one.pem"), "one of them has no certificate or no key (PEM)"),
}


@pytest.mark.parametrize("place", ["action", "fallback"])
@pytest.mark.parametrize("name", FAULTS)
def test_what_can_never_work_is_refused(name: str, place: str, tmp_path: Path) -> None:
    make, told = FAULTS[name]
    delivery = routes(make(tmp_path))
    if place == "fallback":
        action = delivery["routes"][0]["action"]
        delivery["routes"][0] |= {"fallback": action, "action": {"kind": "hosts", "hosts": [{"host": "first.test"}]}}

    status, output = checked(tmp_path, delivery=delivery)

    assert status == 78
    assert "delivery.routes (smart): " in output
    assert told.format(folder=tmp_path) in output
    assert "no mistakes" not in output
    assert load(tmp_path / "jetpost.yaml", {}, sections=("delivery",)), "the process runs for its other routes"
    found = [it for it in remarks(read(tmp_path / "jetpost.yaml", {}).sections) if it.severity is Severity.ERROR]
    assert [told.format(folder=tmp_path) in it.found for it in found] == [True]


def test_a_password_of_several_lines_is_noted(tmp_path: Path) -> None:
    status, output = checked(tmp_path, delivery=routes(password(b"one\ntwo\n")(tmp_path)))

    assert status == 0
    assert f"note: delivery.routes (smart): auth.password_file: {tmp_path}/password has several lines" in output
    assert "note" not in checked(tmp_path, delivery=routes(password(b"one\r\n")(tmp_path)))[1]


@pytest.mark.parametrize(
    ("tls", "port", "told"),
    [
        ("starttls", 465, "smart.test has port 465, where hosts expect TLS at once; did you mean `tls: implicit`?"),
        ("none", 465, "did you mean `tls: implicit`?"),
        ("opportunistic", 465, "did you mean `tls: implicit`?"),
        ("implicit", 587, "smart.test has port 587, where hosts expect STARTTLS; did you mean `tls: starttls`?"),
        ("implicit", 25, "did you mean `tls: starttls`?"),
        ("implicit", 465, ""),
        ("implicit", None, ""),
        ("starttls", 587, ""),
        ("starttls", None, ""),
        ("implicit", 2465, ""),
    ],
)
def test_tls_that_does_not_fit_the_port_is_noted(tls: str, port: int | None, told: str, tmp_path: Path) -> None:
    host = {"host": "smart.test"} | ({"port": port} if port else {})

    status, output = checked(tmp_path, delivery=routes({"tls": tls, "hosts": [host]}))

    assert status == 0
    assert told in output
    assert ("note" in output) == bool(told)


@pytest.mark.parametrize(
    ("tls", "port", "noted"), [("starttls", 465, True), ("implicit", 587, True), ("none", 465, False)]
)
def test_tls_of_a_listener_that_does_not_fit_its_port_is_noted(
    tls: str, port: int, *, noted: bool, tmp_path: Path
) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    self_signed("mx.test", certificate, key)
    files = {"certificate": str(certificate), "key": str(key)}
    listener = {"name": "submission", "port": port, "tls": tls}

    status, output = checked(tmp_path, ingress={"postmaster": "a@b.test", "tls": files, "listeners": [listener]})

    assert status == 0
    assert ("note: listener submission: clients expect `tls: " in output) == noted


def test_a_listener_that_no_route_can_see_is_noted(tmp_path: Path) -> None:
    delivery = routes({}, listeners=["submision", "local"])
    listeners = [{"name": "local", "port": 2525}, {"name": "submission", "port": 2526}]

    status, output = checked(tmp_path, delivery=delivery, ingress={"postmaster": "a@b.test", "listeners": listeners})

    assert status == 0
    assert output.count("note: ") == 1
    assert "delivery.routes (smart): match.listeners has `submision`, but there is no such listener" in output
    assert "did you mean `submission`?" in output
    assert [it.found for it in remarks(read(tmp_path / "jetpost.yaml", {}).sections)] != []


def test_files_of_the_dkim_folder_that_sign_nothing_are_noted(tmp_path: Path) -> None:
    (folder := tmp_path / "dkim").mkdir()
    secret(folder, "good._domainkey.a.test.pem", ed25519_pem())
    secret(folder, "bad._domainkey.a.test.pem", b"no key")
    secret(folder, "mistyped.pem", ed25519_pem())
    secret(folder, "s._domainkey.a.test", ed25519_pem(1))
    secret(folder, "README", b"keys of a.test")
    secret(folder, ".hidden", ed25519_pem())

    status, output = checked(tmp_path, dkim={"folder": str(folder)})

    noted = {line.partition(str(folder) + "/")[2].split()[0] for line in output.splitlines() if "signs nothing" in line}
    assert status == 0
    assert noted == {"bad._domainkey.a.test.pem", "mistyped.pem", "s._domainkey.a.test"}
    assert "the name of a key is SELECTOR._domainkey.DOMAIN.pem" in output


@pytest.mark.parametrize(
    ("mode", "told"),
    [
        (0o600, ""),
        (0o400, ""),
        (0o640, "can be read by its group; run `chmod 600"),
        (0o644, "can be read by its group and by others; run `chmod 600"),
        (0o604, "can be read by others; run `chmod o="),
        (0o660, "its group"),
    ],
)
def test_a_secret_that_others_can_read_is_noted(mode: int, told: str, tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    self_signed("mx.test", certificate, key)
    key.chmod(mode)
    files = {"certificate": str(certificate), "key": str(key)}
    dkim_key = {"domain": "a.test", "selector": "s", "file": secret(tmp_path, "dkim.pem", ed25519_pem(), mode)}
    auth = {"user": "ann", "password_file": secret(tmp_path, "password", b"s3cret", mode)}
    ingress = {"postmaster": "a@b.test", "tls": files}

    status, output = checked(tmp_path, ingress=ingress, delivery=routes({"auth": auth}), dkim={"keys": [dkim_key]})

    assert status == 0
    places = ("ingress.tls.key", "delivery.routes.0 (smart).action.auth.password_file", "dkim.keys.0.file")
    assert [f"note: {place}: " in output for place in places] == [bool(told)] * 3, output
    assert output.count(told or "note: ") == (3 if told else 0)


def test_the_group_of_a_file_of_another_user_may_read_it(tmp_path: Path) -> None:
    """So it is with a Secret in a pod: the files are root's, and the group is the pod's."""
    if os.geteuid():
        pytest.skip("only root gives files away")
    auth = {"user": "ann", "password_file": (file := secret(tmp_path, "password", b"s3cret", 0o440))}
    os.chown(file, 65534, -1)

    assert "note" not in checked(tmp_path, delivery=routes({"auth": auth}))[1]
