"""What an operator may say about the ingress, and what is refused at start."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from ingress.config import Ingress
from jetpost.cli.config.commands import config_app
from jetpost.config.load import ConfigurationError, check, configuration_model
from jetpost.up.certificate import self_signed
from tests.fixtures.users import write_quick_users


@pytest.fixture
def whole(tmp_path: Path) -> dict[str, Any]:
    """The usual three listeners."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    self_signed("mx.test", certificate, key)
    return {
        "tls": {"certificate": str(certificate), "key": str(key)},
        "auth": {"backends": [{"kind": "users_file", "path": str(write_quick_users(tmp_path / "users"))}]},
        "listeners": [
            {"name": "submission", "port": 587, "tls": "starttls", "submission": True, "require_auth": True},
            {"name": "submissions", "port": 465, "tls": "implicit", "submission": True, "require_auth": True},
            {"name": "relay", "port": 25, "tls": "starttls", "domains": ["Grün.test"]},
        ],
    }


def problems(ingress: dict[str, Any]) -> list[str]:
    try:
        check(yaml.safe_dump({"ingress": ingress}), {}, configuration_model(["ingress"]), name="x")
    except ConfigurationError as error:
        return error.problems
    return []


def test_by_default_only_this_machine_is_listened_to() -> None:
    (listener,) = Ingress().listeners
    assert listener.host == "127.0.0.1"
    assert not listener.require_auth
    assert not listener.domains
    assert [str(network) for network in listener.relay_networks] == ["127.0.0.0/8", "::1/128"]


def test_the_usual_three_listeners_are_fine(whole: dict[str, Any]) -> None:
    assert problems(whole) == []
    assert Ingress.model_validate(whole).listeners[2].domains == ("xn--grn-ioa.test",)


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (["auth", "backends", 0, "kind"], "ldpa", "ingress.auth.backends.0.kind: must be 'users_file'"),
        (["auth", "backends"], [], "listener submission: `require_auth` needs one of `ingress.auth.backends`"),
        (["auth", "backends", 0, "path"], "/no/such", "ingress.auth.backends.0.path: cannot read /no/such"),
        (["tls"], None, "listener submission: `tls: starttls` needs `ingress.tls`"),
        (["tls", "key"], "/no/such", "ingress.tls.key: cannot read /no/such"),
        (["listeners", 0, "tls"], "none", "listener submission: AUTH is offered over TLS only"),
        (["listeners", 2, "name"], "submission", "two listeners have the same name"),
        (["listeners", 2, "domains", 0], "a b", "must be a domain such as example.org, got `a b`"),
        (["listeners", 2, "prt"], 25, "did you mean `port`?"),
        (["postmaster"], "postmaster", "ingress.postmaster: must be an address such as admin@example.org"),
        (["postmaster"], "ann@[192.0.2.1]", "ingress.postmaster: must be an address such as admin@example.org"),
        (["postmaster"], "jörg@home.test", "ingress.postmaster: must be an address such as admin@example.org"),
        (["postmaster"], "ann@home.test SIZE=3", "ingress.postmaster: must be an address such as admin@example.org"),
        (["limits"], {"idle_s": "soon"}, "ingress.limits.idle_s: must be a number of seconds"),
    ],
)
def test_a_mistake_is_refused_with_its_place(
    whole: dict[str, Any], path: list[str | int], value: object, told: str
) -> None:
    place: Any = whole
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value

    assert any(told in problem for problem in problems(whole)), problems(whole)


def test_a_certificate_without_its_key_is_refused(whole: dict[str, Any]) -> None:
    whole["tls"]["key"] = whole["tls"]["certificate"]

    assert any("cannot be used together" in problem for problem in problems(whole))


def test_a_users_file_that_is_none_is_refused(whole: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "users").write_text("# a comment\n\nann:plain text\n")

    assert any("users:3: must be `name:argon2-hash`" in problem for problem in problems(whole))


def test_a_system_without_a_postmaster_is_told_so(whole: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "jetpost.yaml"

    def checked() -> str:
        file.write_text(yaml.safe_dump({"ingress": whole}))
        result = CliRunner().invoke(config_app, ["check", str(file)])
        assert result.exit_code == 0
        assert f"{file}: no mistakes" in result.stdout
        return result.stdout

    assert "note: ingress.postmaster is not set" in checked()
    whole["postmaster"] = "admin@example.org"
    assert "note" not in checked()
