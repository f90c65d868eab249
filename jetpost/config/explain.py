"""Mistakes in the configuration, in words an operator can act on: what is wrong, and what is allowed."""

import difflib
import re
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from jetpost.config.document import Path
from jetpost.config.section import in_words
from jetpost.config.shape import is_secret, kinds, models, options_at, takes
from jetpost.config.units import for_people, in_base_units, unit_of

RENAMED = {
    "delivery.lanes.connections_per_site": "delivery.lanes.connections_per_domain",
    "delivery.lanes.waiting_per_site": "delivery.lanes.waiting_per_domain",
}
"""Keys that once had another name: old path to new path. `*` is any index of a list (`ingress.listeners.*.name`)."""
_BOUNDS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}
_LISTS = {"list_type", "tuple_type", "set_type", "frozen_set_type"}
_MAPPINGS = {"model_type", "model_attributes_type", "dict_type"}
_PLAIN_WORDS = {
    **dict.fromkeys(_MAPPINGS, "must be a mapping"),
    **dict.fromkeys(_LISTS, "must be a list"),
    **dict.fromkeys(("bool_parsing", "bool_type"), "must be true or false"),
    "string_type": "must be text",
    "path_type": "must be a path",
    "ip_any_address": "must be an IP address",
    "ip_any_network": "must be a network such as 192.0.2.0/24",
}
_NUMBERS = {"int_parsing", "int_type", "int_from_float", "float_parsing", "float_type"}


def path_of(error: ErrorDetails, data: Any) -> Path:
    """Where in `data` the mistake is: the error's location without the union tags that pydantic puts into it."""
    path: list[str | int] = []
    last = len(error["loc"]) - 1
    has_tag = True
    for number, element in enumerate(error["loc"]):
        # A tag may be the name of a key inside as well; it stands once, in front of those.
        if has_tag and isinstance(data, dict) and data.get("kind") == element:
            has_tag = False
            continue
        has_tag = True
        known = element in data if isinstance(data, dict) else isinstance(data, list) and isinstance(element, int)
        if known:
            path.append(element)
            data = data[element]
        elif number == last and error["type"] == "missing":
            path.append(element)
    return tuple(path)


def explain(error: ErrorDetails, path: Path, root: type[BaseModel], data: Any) -> str:
    """One sentence about one mistake that validation of `data` against `root` found at `path`."""
    options = options_at(root, path, data)
    match error["type"]:
        case "extra_forbidden" if (now := renamed(path)) is not None:
            return f"renamed to {now}"
        case "extra_forbidden":
            fields = [name for model in models(options_at(root, path[:-1], data)) for name in model.model_fields]
            return f"unknown key{did_you_mean(str(path[-1]), fields)}; allowed here: {_listed(fields)}"
        case "missing":
            return "is required"
        case "union_tag_invalid":
            tag, tags = str(error["ctx"]["tag"]), _tags(options)
            return f"`kind` must be one of {_listed(tags)}, got `{tag}`{did_you_mean(tag, tags)}"
        case "union_tag_not_found":
            return f"needs a `kind`, one of {_listed(_tags(options))}"
        case "value_error":
            return str(error["ctx"]["error"])
        case _:
            written = _written(path, data)
            given = error["input"] if written is None else written
            return (
                _allowed(error, path, in_units=written is not None)
                + ("" if is_secret(options) else _got(given) + _without_brackets(error))
                + (_hint(error) or _sibling(error, path, root, data))
            )


def renamed(path: Path) -> str | None:
    """The new path of a key that was at `path`; None when no key of that name was renamed."""
    return RENAMED.get(".".join("*" if isinstance(element, int) else element for element in path))


def _allowed(error: ErrorDetails, path: Path, *, in_units: bool) -> str:
    """What the value must be; bounds with a unit when it was written with one."""
    context = error.get("ctx", {})
    match error["type"]:
        case kind if kind in _PLAIN_WORDS:
            return _PLAIN_WORDS[kind]
        case "string_pattern_mismatch":
            return f"must be {in_words(context['pattern'])}"
        case "literal_error" | "enum":
            return f"must be {context['expected']}"
        case "too_short":
            return f"must have at least {context['min_length']}"
        case "too_long":
            return f"must have at most {context['max_length']}"
        case kind if kind in _NUMBERS:
            unit = unit_of(_field(path))
            number = f"must be a {'whole ' if kind.startswith('int') else ''}number"
            return f"{number} of {unit.name}, or text such as {unit.example}" if unit else number
        case kind if kind in _BOUNDS:
            words, bound = _BOUNDS[kind]
            unit = unit_of(_field(path)) if in_units else None
            return f"must be {words} {for_people(context[bound], unit) if unit else _plain(context[bound])}"
        case _:
            return error["msg"].replace("Input should", "must").replace("must be a valid", "must be a")


def _hint(error: ErrorDetails) -> str:
    """What was probably meant; empty when nobody can know."""
    if error["type"] not in {"literal_error", "enum"}:
        return ""
    return did_you_mean(str(error["input"]), re.findall(r"'(.*?)'", error["ctx"]["expected"]))


def _without_brackets(error: ErrorDetails) -> str:
    """YAML makes a list of a text in brackets."""
    given = error["input"]
    is_one = error["type"] == "string_type" and isinstance(given, list) and len(given) == 1
    return f"; write it without brackets: `{given[0][:80]}`" if is_one and isinstance(given[0], str) else ""


def _sibling(error: ErrorDetails, path: Path, root: type[BaseModel], data: Any) -> str:
    """The key of a similar name that takes a list where one was given, or a mapping."""
    given = error["input"]
    if not path or not isinstance(path[-1], str):
        return ""
    if not (error["type"] in _MAPPINGS and isinstance(given, list)) and not (
        error["type"] in _LISTS and isinstance(given, dict)
    ):
        return ""
    fitting = [
        name
        for model in models(options_at(root, path[:-1], data))
        for name, field in model.model_fields.items()
        if name != path[-1] and takes(field.annotation, given)
    ]
    return did_you_mean(path[-1], fitting)


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """`, did you mean …?` with the nearest of `allowed`; empty when none is near."""
    nearest = difflib.get_close_matches(word, list(allowed), n=1, cutoff=0.6)
    return f", did you mean `{nearest[0]}`?" if nearest else ""


def _written(path: Path, data: Any) -> str | None:
    """The text at `path` when it is a number with a unit, such as `10MB`."""
    for element in path:
        inner = isinstance(data, dict) or (isinstance(data, list) and isinstance(element, int) and element < len(data))
        data = (data.get(element) if isinstance(data, dict) else data[element]) if inner else None
    unit = unit_of(_field(path)) if isinstance(data, str) else None
    return data if unit is not None and in_base_units(data, unit) is not None else None


def _field(path: Path) -> str:
    """The name of the field at `path`, or of the list that contains it."""
    return next((element for element in reversed(path) if isinstance(element, str)), "")


def _plain(bound: Any) -> Any:
    return int(bound) if isinstance(bound, float) and bound.is_integer() else bound


def _got(given: Any) -> str:
    return f", got `{str(given)[:80]}`" if isinstance(given, str | int | float) else ""


def _tags(options: list[Any]) -> list[str]:
    return [tag for model in models(options) for tag in kinds(model)]


def _listed(words: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(words))
