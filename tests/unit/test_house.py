"""The house rules that a linter does not know: sizes, names, empty packages, documented entrances."""

import ast
import re
from collections.abc import Callable, Iterator
from configparser import ConfigParser
from functools import cache
from pathlib import Path
from typing import TypeVar

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SERVICES = ("jetpost", "ingress", "delivery", "bouncer")
CODE = sorted(path for package in SERVICES for path in (ROOT / package).rglob("*.py"))
ALERTS = sorted((ROOT / "deploy/helm/jetpost/alerts").glob("*.yaml"))
RUNBOOKS = sorted((ROOT / "docs/runbooks").glob("*.md"))
MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION = 50
DOORS = {
    "structlog": ("jetpost.telemetry",),
    "logging": ("jetpost.telemetry",),
    "aiosmtpd": ("ingress.listen", "jetpost.cli"),
    "h11": ("jetpost.http_client",),
    "joserfc": ("delivery.connect.auth.oauth",),
    "nats": ("jetpost.jetstream", "jetpost.queue", "jetpost.events"),
}
"""One library, one door: who may import it."""
MOST_FILES_OF_A_ROOM = 8
SAYS_NOTHING = re.compile(r"(utils?|helpers?|common|misc|types|base|managers?)(\.py)?")

T = TypeVar("T")
Function = ast.FunctionDef | ast.AsyncFunctionDef


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(text(path))


def found(look: Callable[[Path], list[T]], *, besides: str = "") -> dict[str, list[T]]:
    """What `look` finds in each file, by its name, but for the files called `besides`."""
    return {name(path): it for path in CODE if path.stem != besides and (it := look(path))}


def functions(path: Path) -> Iterator[Function]:
    for node in ast.walk(tree(path)):
        if isinstance(node, Function):
            yield node


def length(function: Function) -> int:
    """Lines of the function, its docstring apart."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def public(body: list[ast.stmt]) -> Iterator[Function | ast.ClassDef]:
    """The public functions and classes of a module, and the public methods of those classes."""
    for node in body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body)


def test_a_file_has_one_reason_to_exist() -> None:
    def too_long(path: Path) -> list[str]:
        long = [it.name for it in functions(path) if length(it) > MOST_LINES_OF_A_FUNCTION]
        return long + ["the file"] * (len(text(path).splitlines()) > MOST_LINES)

    assert found(too_long) == {}


def test_what_is_public_is_documented_and_typed() -> None:
    def missing(path: Path) -> list[str]:
        return [fault for node in public(tree(path).body) for fault in _undocumented(node)]

    assert found(missing) == {}


def _undocumented(node: Function | ast.ClassDef) -> Iterator[str]:
    if not ast.get_docstring(node):
        yield f"{node.name} has no docstring"
    if isinstance(node, Function):
        if node.returns is None:
            yield f"{node.name} does not say what it returns"
        for it in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]:
            if it.annotation is None and it.arg not in {"self", "cls"}:
                yield f"{node.name} does not say what {it.arg} is"


def test_a_package_is_empty_but_for_a_docstring() -> None:
    def code(path: Path) -> list[str]:
        body = tree(path).body if path.name == "__init__.py" else []
        return [ast.unparse(node) for node in body if not isinstance(node, ast.Expr)]

    assert found(code) == {}


def test_a_room_is_named_after_what_it_decides_or_keeps() -> None:
    parts = {part for path in CODE for part in path.relative_to(ROOT).parts}

    assert sorted(part for part in parts if SAYS_NOTHING.fullmatch(part)) == []


def test_a_room_is_small_enough_to_read() -> None:
    rooms = sorted({path.parent for path in CODE})
    files = {name(room): len([it for it in room.glob("*.py") if it.name != "__init__.py"]) for room in rooms}

    assert {room: count for room, count in files.items() if count > MOST_FILES_OF_A_ROOM} == {}


def says_pure(path: Path) -> bool:
    return re.search(r"\bPure\b", ast.get_docstring(tree(path)) or "") is not None


def test_what_says_that_it_is_pure_is_in_the_contract() -> None:
    linted = ConfigParser()
    linted.read(ROOT / ".importlinter")
    pure = linted["importlinter:contract:decisions"]["source_modules"].split()
    say = [module(path) for path in CODE if re.search(r"\bPure\b", ast.get_docstring(tree(path)) or "")]

    assert say
    assert [it for it in say if not any(is_within(it, room) for room in pure)] == []


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module


def module(path: Path) -> str:
    return name(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def is_within(name: str, room: str) -> bool:
    return f"{name}.".startswith(f"{room}.")


@pytest.mark.parametrize("library", DOORS)
def test_one_library_has_one_door(library: str) -> None:
    """A logger, above all, is got in one way: `jetpost.telemetry.log.logger`."""
    importers = [module(path) for path in CODE if any(is_within(it, library) for it in imported(path))]

    assert [it for it in importers if not any(is_within(it, room) for room in DOORS[library])] == []


def test_an_error_number_has_a_name() -> None:
    """The numbers of JetStream's errors are in one table: `jetpost.jetstream.errors.ErrorNumber`."""

    def numbers(path: Path) -> list[int]:
        constants = [it.value for it in ast.walk(tree(path)) if isinstance(it, ast.Constant)]
        return [it for it in constants if type(it) is int and 10_001 <= it <= 10_300]

    assert found(numbers, besides="errors") == {}


def test_what_nats_py_does_not_document_is_used_in_one_file() -> None:
    """`jetpost/jetstream/nats_client.py`, which a test compares with the installed nats-py."""
    assert found(lambda path: re.findall(r"\bnc\._\w+", text(path)), besides="nats_client") == {}


def test_servers_are_verified_in_one_way() -> None:
    """`jetpost.client_tls.verifying`; delivery has a context of its own for TLS that verifies nothing."""
    makers = [name(path) for path in CODE if "create_default_context(" in text(path)]

    assert makers == ["delivery/security/contexts.py", "jetpost/client_tls.py"]


def test_streams_are_made_in_one_file() -> None:
    makers = [name(path) for path in CODE if re.search(r"STREAM\.(CREATE|UPDATE)", path.read_text())]

    assert makers == ["jetpost/jetstream/streams.py"]


def test_the_licence_of_a_rule_is_a_reason() -> None:
    """Every `noqa` and `type: ignore` names its rule."""
    unnamed = r".*#\s*(?:noqa(?!:\s*[A-Z]+\d)|type:\s*ignore(?!\[)).*"

    assert found(lambda path: re.findall(unnamed, text(path))) == {}


def test_each_alert_has_its_runbook_and_each_runbook_its_alert() -> None:
    assert [alert.stem for alert in ALERTS] == [runbook.stem for runbook in RUNBOOKS if runbook.stem != "README"]


@pytest.mark.parametrize("path", ALERTS, ids=name)
def test_an_alert_links_its_runbook(path: Path) -> None:
    assert f"docs/runbooks/{path.stem}.md" in path.read_text()


def test_each_feature_names_a_test_that_exists() -> None:
    tests = re.findall(r"`(tests/[\w/]+\.py)`", (ROOT / "docs/features.md").read_text())

    assert tests, "docs/features.md names no test"
    assert [test for test in tests if not (ROOT / test).is_file()] == []


def test_the_chart_is_yaml_and_every_value_has_a_comment() -> None:
    lines = (ROOT / "deploy/helm/jetpost/values.yaml").read_text().splitlines()
    undocumented = [
        line
        for before, line in zip(["", *lines], lines, strict=False)
        if re.match(r"\w+:", line) and not before.startswith("#")
    ]

    assert isinstance(yaml.safe_load("\n".join(lines)), dict)
    assert undocumented == []


@pytest.mark.parametrize("path", sorted((ROOT / "requirements").glob("*.txt")), ids=name)
def test_what_is_installed_is_known_to_the_byte(path: Path) -> None:
    """Each requirement has one version and its checksums: what comes from elsewhere is the same everywhere."""
    lines = [line for line in path.read_text().replace("\\\n", "").splitlines() if not line.startswith(("#", "-r"))]

    assert [line for line in lines if not re.match(r"[\w.-]+==[\w.]+ .*--hash=sha256:[0-9a-f]{64}", line)] == []
    assert "://" not in path.read_text()


def test_no_reason_is_empty() -> None:
    """`str(TimeoutError())` is empty: what was caught is put into words by `reason_of`."""

    def bare(path: Path) -> list[str]:
        handlers = [it for it in ast.walk(tree(path)) if isinstance(it, ast.ExceptHandler) and it.name]
        return [ast.unparse(node) for handler in handlers for node in ast.walk(handler) if _says(node, handler.name)]

    assert found(bare, besides="reason") == {}, "say reason_of(error)"


def _says(node: ast.AST, caught: str | None) -> bool:
    """Whether `node` is the plain text of what was caught."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "str":
        said = node.args[0] if node.args else None
    else:
        said = node.value if isinstance(node, ast.FormattedValue) and node.conversion != ord("r") else None
    return isinstance(said, ast.Name) and said.id == caught
