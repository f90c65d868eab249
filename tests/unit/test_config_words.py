"""No mistake in the configuration, and no type in its reference, is told in the words of the program's libraries."""

import re
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from jetpost.cli.config.reference import reference
from jetpost.config.explain import explain, path_of
from jetpost.config.load import ConfigurationError, check, configuration_model
from jetpost.config.shape import alternatives, models

WRONG: list[Any] = [[], ["x"], {}, {"x": 1}, "x\x00 y", "", "x" * 2_000, 3.5, -1, 10**9, True, None, float("nan")]
TECHNICAL = re.compile(r"\b(tuple|boolean|pattern|string|instance|dictionary|input|Input|valid|unable|enum|object)\b")
ROUTE = "  routes:\n  - name: a\n    action: {kind: hosts, hosts: [{host: a.test}]}\n"


def all_models(model: type[BaseModel]) -> list[type[BaseModel]]:
    """It, and those inside it."""
    found, left = {model}, [model]
    while left:
        for field in left.pop().model_fields.values():
            inner = set(models(innermost(field.annotation))) - found
            found |= inner
            left += inner
    return sorted(found, key=lambda it: it.__name__)


def innermost(annotation: Any) -> list[Any]:
    options = alternatives(annotation)
    inside = [
        it for option in options for it in getattr(option, "__args__", ()) if it is not ... and type(it) is not str
    ]
    return [*options, *(deeper for it in inside for deeper in innermost(it))]


@pytest.mark.parametrize("model", all_models(configuration_model()), ids=lambda model: model.__name__)
def test_no_mistake_is_told_in_words_of_the_library(model: type[BaseModel]) -> None:
    for name in model.model_fields:
        for wrong in WRONG:
            data = {name: wrong}
            try:
                model.model_validate(data)
            except ValidationError as failed:
                errors = [error for error in failed.errors(include_url=False) if error["loc"][:1] == (name,)]
                for error in errors:
                    told = explain(error, path_of(error, data), model, data)
                    assert not TECHNICAL.search(told.split(", got")[0]), (name, wrong, told)


def test_the_types_of_the_reference_are_words() -> None:
    page = reference(configuration_model())
    types = re.findall(r"^- \*\*`[^`]*`\*\*: (?:list of )*([^,;]*)", page, re.MULTILINE)
    known = {"text", "text (secret)", "path", "number", "whole number", "true or false", "section", "IP address"}
    known |= {"network such as 192.0.2.0/24"}
    others = {it for it in types if it not in known and not it.startswith(("one of ", "`", "a mapping of "))}
    assert others == set()
    assert "one of `implicit`, `starttls`, `opportunistic`, `none`; default `starttls`" in page
    assert "matches `" not in page


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "delivery:\n  route:\n  - name: a\n",
            "delivery.route: must be a mapping, did you mean `routes`?",
        ),
        ("delivery:\n  routes: {prefer: ipv4}\n", "delivery.routes: must be a list, did you mean `route`?"),
        ("delivery:\n  routes: all\n", "delivery.routes: must be a list, got `all`"),
        (
            "delivery:\n" + ROUTE.replace("name: a", "name: My Route"),
            "name: must be 1 to 63 lower-case letters, digits and hyphens, the first no hyphen, got `My Route`",
        ),
        (
            "delivery:\n" + ROUTE.replace("a.test", "'[smtp.example.net]'"),
            "must be the name of a host or an IP address, got `[smtp.example.net]`; "
            "write it without brackets: `smtp.example.net`",
        ),
        (
            "delivery:\n" + ROUTE.replace("a.test", "[smtp.example.net]"),
            "host: must be text; write it without brackets: `smtp.example.net`",
        ),
        (
            "delivery:\n" + ROUTE.replace("a.test}]", "a.test}], verify: perhaps"),
            "verify: must be true or false, got `perhaps`",
        ),
        (
            "delivery:\n" + ROUTE.replace("a.test}]", "a.test}], source_address: eth0"),
            "source_address: must be an IP address, got `eth0`",
        ),
        (
            "delivery:\n" + ROUTE.replace("a.test}]", "a.test}], tls: startls"),
            "tls: must be 'implicit', 'starttls', 'opportunistic' or 'none', got `startls`, did you mean `starttls`?",
        ),
        ("nats: {password: [hunter2]}", "nats.password: must be text"),
    ],
)
def test_a_mistake_says_what_is_expected(text: str, told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check(f"hostname: mx.test\n{text}", {}, configuration_model(("nats", "delivery")), name="jetpost.yaml")
    assert any(problem.endswith(told) for problem in caught.value.problems), caught.value.problems
    assert not any("hunter2" in problem for problem in caught.value.problems)
