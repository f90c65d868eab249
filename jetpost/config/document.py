"""A configuration file read as YAML, remembering on which line each value stands."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

from jetpost.reason import reason_of

Path = tuple[str | int, ...]
"""The way to a value: keys of mappings and indexes of lists."""


class Document(NamedTuple):
    """What a file says, and where it says it."""

    data: dict[str, Any]
    lines: dict[Path, int]
    problems: list[tuple[Path, str]]
    """What is wrong with it as a document: a path and a sentence."""

    def line(self, path: Path) -> int | None:
        """The line of the value at `path`, or of what would contain it; None for an empty document."""
        prefixes = (path[:length] for length in range(len(path), -1, -1))
        return next((self.lines[prefix] for prefix in prefixes if prefix in self.lines), None)


def read(text: str) -> Document:
    """Parse `text`. Never raises for what an operator may have written."""
    loader = yaml.SafeLoader(text)
    lines: dict[Path, int] = {}
    try:
        root = loader.get_single_node()
        if root is None:
            return Document({}, {}, [])
        problems = [(path, "is given twice") for path in _walk(loader, root, (), lines)]
        data = loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        if error.problem_mark is not None:
            lines[()] = error.problem_mark.line + 1
        return Document({}, lines, [((), f"this is not YAML: {error.problem}")])
    except (yaml.YAMLError, RecursionError) as error:
        return Document({}, lines, [((), f"this is not YAML: {reason_of(error)}")])
    finally:
        loader.dispose()
    if not isinstance(data, dict):
        return Document({}, lines, [((), "must be a mapping of sections, such as `hostname: mx.example.org`")])
    return Document(data, lines, problems)


def _walk(loader: yaml.SafeLoader, node: yaml.Node, path: Path, lines: dict[Path, int]) -> Iterator[Path]:
    """Note the line of every value under `node`; yields the paths of keys that come twice."""
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _walk(loader, item, (*path, index), lines)
    elif isinstance(node, yaml.MappingNode):
        seen: set[str | int] = set()
        for key_node, value_node in node.value:
            key = loader.construct_object(key_node)
            if not isinstance(key, str | int):
                continue
            if key in seen:
                yield (*path, key)
            seen.add(key)
            lines[*path, key] = key_node.start_mark.line + 1
            yield from _walk(loader, value_node, (*path, key), lines)
