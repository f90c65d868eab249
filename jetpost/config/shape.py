"""The shape of the configuration: which models and types may stand at a path."""

from collections.abc import Iterable, Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr

from jetpost.config.document import Path

_LISTS = (list, tuple, set, frozenset)


def alternatives(annotation: Any) -> list[Any]:
    """The types a value of `annotation` may have, without None: `Annotated` and unions are taken apart."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return alternatives(get_args(annotation)[0])
    if origin in {Union, UnionType}:
        return [single for argument in get_args(annotation) for single in alternatives(argument)]
    return [] if annotation is NoneType else [annotation]


def is_model(option: Any) -> bool:
    """Whether `option` is a section rather than a single value."""
    return isinstance(option, type) and issubclass(option, BaseModel)


def models(options: Iterable[Any]) -> Iterator[type[BaseModel]]:
    """The sections among `options`."""
    return (option for option in options if is_model(option))


def kinds(model: type[BaseModel]) -> tuple[str, ...]:
    """The values of `kind` that choose `model` in a union; empty when it has none."""
    field = model.model_fields.get("kind")
    return get_args(field.annotation) if field is not None and get_origin(field.annotation) is Literal else ()


def options_at(root: type[BaseModel], path: Path, data: Any) -> list[Any]:
    """The types that may stand at `path` under `root`, where `data` (its `kind`s) has not decided otherwise."""
    options: list[Any] = [root]
    for element in path:
        options = [following for option in _chosen(options, data) for following in _step(option, element)]
        data = _value(data, element)
    return _chosen(options, data)


def takes(annotation: Any, given: list[Any] | dict[Any, Any]) -> bool:
    """Whether a value of `annotation` may be a list, or a mapping, as `given` is."""
    options = alternatives(annotation)
    if isinstance(given, list):
        return any(get_origin(option) in _LISTS for option in options)
    return any(is_model(option) or get_origin(option) is dict for option in options)


def is_secret(options: Iterable[Any]) -> bool:
    """Whether a value of these types must not be shown."""
    return any(option is SecretStr for option in options)


def _step(option: Any, element: str | int) -> list[Any]:
    if is_model(option):
        field = option.model_fields.get(element)
        return [] if field is None else alternatives(field.annotation)
    origin, arguments = get_origin(option), get_args(option)
    if origin in _LISTS and isinstance(element, int):
        return alternatives(arguments[0])
    if origin is dict:
        return alternatives(arguments[1])
    return []


def _chosen(options: list[Any], data: Any) -> list[Any]:
    kind = data.get("kind") if isinstance(data, dict) else None
    chosen = [model for model in models(options) if kind in kinds(model)]
    return chosen or options


def _value(data: Any, element: str | int) -> Any:
    try:
        return data[element]
    except (KeyError, IndexError, TypeError):
        return None
