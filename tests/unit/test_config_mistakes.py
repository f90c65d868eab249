"""Every mistake in a configuration is told at once, with its place and what is allowed."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, SecretStr, create_model

from jetpost.cli.config.reference import reference
from jetpost.config.load import Configuration, ConfigurationError, check
from jetpost.config.section import ReadableFile, Section


class UsersFile(Section):
    """Users in a file."""

    kind: Literal["users_file"] = "users_file"
    path: str = "users"


class Ldap(Section):
    """Users in a directory."""

    kind: Literal["ldap"] = "ldap"
    url: str
    password: SecretStr = SecretStr("")


Backend = Annotated[UsersFile | Ldap, Field(discriminator="kind")]


class Listener(Section):
    """One listening socket."""

    port: Annotated[int, Field(ge=0, le=65535)] = 25
    """Where it listens."""
    policy: Literal["submission", "relay"] = "relay"
    certificate: ReadableFile | None = None


class Ingress(Section):
    """Accepts mail."""

    message_bytes: Annotated[int, Field(ge=1024)] = 50_000_000
    """Largest message."""
    drain_s: Annotated[float, Field(gt=0, le=600)] = 30
    backends: list[Backend] = []
    listeners: dict[str, Listener] = {}
    ports: Annotated[tuple[Listener, ...], Field(min_length=1)] = (Listener(),)
    password: SecretStr = SecretStr("")


Model = create_model("Model", __base__=Configuration, ingress=(Ingress, Field(default_factory=Ingress)))


def problems(text: str, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        check(text, environ or {}, Model, name="jetpost.yaml")
    return caught.value.problems


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "ingress:\n  mesage_bytes: 1",
            "jetpost.yaml:2: ingress.mesage_bytes: unknown key, did you mean `message_bytes`?; allowed here: "
            "message_bytes, drain_s, backends, listeners, ports, password",
        ),
        ("ingres: {}", "jetpost.yaml:1: ingres: unknown key, did you mean `ingress`?; allowed here: hostname, ingress"),
        (
            "ingress:\n  message_bytes: 10 parsecs",
            "jetpost.yaml:2: ingress.message_bytes: must be a whole number of bytes, or text such as `10MB` or `8MiB`, "
            "got `10 parsecs`",
        ),
        (
            "ingress: {drain_s: 5M}",
            "jetpost.yaml:1: ingress.drain_s: must be a number of seconds, or text such as `5m`, got `5M`",
        ),
        ("ingress: {drain_s: 11m}", "jetpost.yaml:1: ingress.drain_s: must be at most 10m, got `11m`"),
        ("ingress: {ports: []}", "jetpost.yaml:1: ingress.ports: must have at least 1"),
        (
            "ingress:\n  ports:\n  - port: 70000\n",
            "jetpost.yaml:3: ingress.ports.0.port: must be at most 65535, got `70000`",
        ),
        ("ingress: {drain_s: 601}", "jetpost.yaml:1: ingress.drain_s: must be at most 600, got `601`"),
        ("ingress: {drain_s: 0}", "jetpost.yaml:1: ingress.drain_s: must be more than 0, got `0`"),
        ("ingress: {drain_s: .nan}", "jetpost.yaml:1: ingress.drain_s: must be a finite number, got `nan`"),
        (
            "ingress:\n  backends:\n  - kind: ldpa\n",
            "jetpost.yaml:3: ingress.backends.0: `kind` must be one of users_file, ldap, got `ldpa`, "
            "did you mean `ldap`?",
        ),
        (
            "ingress:\n  backends:\n  - path: x\n",
            "jetpost.yaml:3: ingress.backends.0: needs a `kind`, one of users_file, ldap",
        ),
        ("ingress:\n  backends:\n  - kind: ldap\n", "jetpost.yaml:3: ingress.backends.0.url: is required"),
        (
            "ingress:\n  backends:\n  - kind: ldap\n    url: x\n    path: y\n",
            "jetpost.yaml:5: ingress.backends.0.path: unknown key; allowed here: kind, url, password",
        ),
        (
            "ingress:\n  listeners:\n    mx: {policy: rely}",
            "jetpost.yaml:3: ingress.listeners.mx.policy: must be 'submission' or 'relay', got `rely`, "
            "did you mean `relay`?",
        ),
        (
            "ingress:\n  listeners:\n    policy: {prt: 25}",
            "jetpost.yaml:3: ingress.listeners.policy.prt: unknown key, did you mean `port`?; allowed here: "
            "port, policy, certificate",
        ),
        (
            "ingress:\n  listeners:\n    mx:\n      certificate: /no/such.pem",
            "jetpost.yaml:4: ingress.listeners.mx.certificate: cannot read /no/such.pem: No such file or directory",
        ),
        ("ingress: 7", "jetpost.yaml:1: ingress: must be a mapping, got `7`"),
        ("hostname: a b", "jetpost.yaml:1: hostname: must be a host name such as mx.example.org, got `a b`"),
        ("hostname: a\nhostname: b", "jetpost.yaml:2: hostname: is given twice"),
        ("- 1", "jetpost.yaml:1: must be a mapping of sections, such as `hostname: mx.example.org`"),
        ("ingress: [", "jetpost.yaml:1: this is not YAML: expected the node content, but found '<stream end>'"),
        ("ingress: {password: [hunter2]}", "jetpost.yaml:1: ingress.password: must be text"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_what_is_allowed(text: str, problem: str) -> None:
    assert problems(text) == [problem]


def test_all_mistakes_are_told_at_once() -> None:
    found = problems(
        "hostname: '-'\ningress:\n  drain_s: soon\n  nonsense: 1\n", {"JETPOST_INGRESS__MESSAGE_BYTES": "1x"}
    )

    assert [problem.split(": ")[:2] for problem in found] == [
        ["JETPOST_INGRESS__MESSAGE_BYTES", "ingress.message_bytes"],
        ["jetpost.yaml:1", "hostname"],
        ["jetpost.yaml:3", "ingress.drain_s"],
        ["jetpost.yaml:4", "ingress.nonsense"],
    ]


@pytest.mark.parametrize("name", ["JETPOST_INGRESS__NONSENSE", "JETPOST_NONSENSE", "JETPOST_HOSTNAME__X"])
def test_a_variable_that_sets_nothing_is_refused(name: str) -> None:
    (problem,) = problems("hostname: mx.test", {name: "1"})

    assert problem.startswith(f"{name}: ")


def test_the_environment_wins_over_the_file() -> None:
    environ = {
        "JETPOST_HOSTNAME": "mx.test",
        "JETPOST_INGRESS__DRAIN_S": "7",
        "JETPOST_INGRESS__PASSWORD": "0123",
        "JETPOST_INGRESS__BACKENDS": "[{kind: ldap, url: one}]",
        "JETPOST_INGRESS__LISTENERS__MX__PORT": "2525",
    }

    checked = check(
        "ingress:\n  drain_s: 5\n  listeners: {mx: {port: 1, policy: submission}}", environ, Model, name="x"
    )

    ingress = checked.model_dump()["ingress"]
    assert checked.hostname == "mx.test"
    assert ingress["drain_s"] == 7
    assert ingress["password"].get_secret_value() == "0123"
    assert ingress["backends"][0]["url"] == "one"
    assert ingress["listeners"]["mx"] == {"port": 2525, "policy": "submission", "certificate": None}


def test_a_list_is_overridden_item_by_item() -> None:
    environ = {"JETPOST_INGRESS__BACKENDS__0__PATH": "theirs"}

    checked = check("ingress: {backends: [{kind: users_file, path: ours}]}", environ, Model, name="x")

    assert checked.model_dump()["ingress"]["backends"] == [{"kind": "users_file", "path": "theirs"}]


def test_variables_that_kubernetes_sets_for_a_service_are_left_alone() -> None:
    environ = {
        "JETPOST_INGRESS_SERVICE_HOST": "10.0.0.1",
        "JETPOST_INGRESS_SERVICE_PORT_SMTP": "25",
        "JETPOST_INGRESS_PORT": "tcp://10.0.0.1:25",
        "JETPOST_INGRESS_PORT_25_TCP_ADDR": "10.0.0.1",
    }

    assert check("hostname: mx.test", environ, Model, name="x").hostname == "mx.test"


@pytest.mark.parametrize("text", ["", "# nothing\n", "ingress:\n"])
def test_an_empty_file_is_valid(text: str) -> None:
    assert check(text, {"JETPOST_HOSTNAME": "mx.test"}, Model, name="x").model_dump()["ingress"]["drain_s"] == 30


def test_a_readable_file_is_taken(tmp_path: Path) -> None:
    certificate = tmp_path / "certificate.pem"
    certificate.write_text("…")

    checked = check(f"ingress: {{listeners: {{mx: {{certificate: {certificate}}}}}}}", {}, Model, name="x")

    assert checked.model_dump()["ingress"]["listeners"]["mx"]["certificate"] == certificate


def test_the_reference_shows_every_value_with_its_type_limits_default_and_sentence() -> None:
    page = reference(Model)

    assert "- **`ingress.message_bytes`**: whole number, ≥ 1024; default `50000000`.\n  Largest message." in page
    assert "- **`ingress.drain_s`**: number, > 0, ≤ 600; default `30`." in page
    assert "### `ingress.backends.<number>` with `kind: ldap`" in page
    assert "- **`ingress.backends.<number>.url`**: text; required." in page
    assert "- **`ingress.listeners.<name>.port`**" in page
    assert "text (secret); empty by default" in page
