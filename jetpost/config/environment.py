"""Overrides from the environment: `JETPOST_DELIVERY__DRAIN_S=30` is `delivery.drain_s: 30`."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml
from pydantic import BaseModel, SecretStr

from jetpost.config.document import Path
from jetpost.config.shape import options_at

PREFIX = "JETPOST_"
FILE_VARIABLE = "JETPOST_CONFIG"
"""Names the configuration file where `--config` does not."""
_SERVICE_LINK = re.compile(r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?$")
_NUMBER = re.compile(r"[0-9]{1,9}")
_TEXT: set[Any] = {str, SecretStr}


def overrides(environ: Mapping[str, str]) -> dict[Path, tuple[str, str]]:
    """The paths that the environment sets, each with the variable's name and text.

    Kubernetes sets variables of its own for a Service (`JETPOST_INGRESS_SERVICE_HOST`, `JETPOST_INGRESS_PORT_25_TCP`);
    their single underscores tell them apart.
    """
    found: dict[Path, tuple[str, str]] = {}
    for name, text in sorted(environ.items()):
        if not name.startswith(PREFIX) or name == FILE_VARIABLE or ("__" not in name and _SERVICE_LINK.search(name)):
            continue
        words = name.removeprefix(PREFIX).lower().split("__")
        found[tuple(int(word) if _NUMBER.fullmatch(word) else word for word in words)] = name, text
    return found


def is_set(environ: Mapping[str, str], sections: Iterable[str]) -> bool:
    """Whether the environment sets something of one of these sections."""
    wanted = set(sections)
    return any(path[0] in wanted for path in overrides(environ))


def apply(data: dict[str, Any], path: Path, text: str, root: type[BaseModel]) -> bool:
    """Set the value at `path` in `data` to what `text` says. False when `path` cannot exist there."""
    here: Any = data
    for element in path[:-1]:
        if isinstance(here, dict) and here.get(element) is None:
            here[element] = {}
        if not _has_place(here, element):
            return False
        here = here[element]
    if not _has_place(here, path[-1]):
        return False
    here[path[-1]] = _parsed(text, options_at(root, path, data))
    return True


def _has_place(container: Any, element: str | int) -> bool:
    """Whether `element` can be set in `container`: any key of a mapping, an existing item of a list."""
    return isinstance(container, dict) or (
        isinstance(container, list) and isinstance(element, int) and element < len(container)
    )


def _parsed(text: str, options: list[Any]) -> Any:
    """`text` as YAML, but as it stands where text is wanted: the password 0123 is no number."""
    if options and all(option in _TEXT for option in options):
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text
