"""A key of before is refused by name, with the name that it has now."""

import json

import pytest
import yaml

from jetpost.config.explain import RENAMED, renamed
from jetpost.config.load import ConfigurationError, check, configuration_model
from jetpost.config.shape import options_at

MODEL = configuration_model()


def nested(path: str) -> object:
    """The data of a file that sets the value at `path` alone."""
    value: object = 5
    for element in reversed(path.split(".")):
        value = [value] if element == "*" else {element: value}
    return value


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_a_key_of_a_file(old: str, new: str) -> None:
    place = old.replace("*", "0")
    with pytest.raises(ConfigurationError) as caught:
        check(yaml.safe_dump(nested(old), default_flow_style=True), {}, MODEL, name="jetpost.yaml")

    assert f"jetpost.yaml:1: {place}: renamed to {new}" in caught.value.problems


@pytest.mark.parametrize(("old", "new"), [pair for pair in RENAMED.items() if "*" not in pair[0]])
def test_a_variable(old: str, new: str) -> None:
    name = "JETPOST_" + old.replace(".", "__").upper()
    with pytest.raises(ConfigurationError) as caught:
        check("", {name: "5"}, MODEL, name="jetpost.yaml")

    assert caught.value.problems == [f"{name}: {old}: renamed to {new}"]


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_the_new_name_exists_and_the_old_one_does_not(old: str, new: str) -> None:
    def at(path: str) -> list[object]:
        elements = tuple(0 if element == "*" else element for element in path.split("."))
        return options_at(MODEL, elements, json.loads(json.dumps(nested(path))))

    assert at(new)
    assert not at(old)


def test_what_was_never_renamed() -> None:
    assert renamed(("delivery", "lanes", "connections")) is None
