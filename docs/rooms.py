"""The rooms as a diagram, made from the imports of the code."""

from collections.abc import Callable, Iterable

import grimp

Edges = dict[str, set[str]]
"""What each room or file imports."""

SERVICES = ("ingress", "delivery", "bouncer")
PACKAGES = ("jetpost", *SERVICES)


def diagrams() -> str:
    """One Mermaid diagram of all processes and what they share, one of each service, and one of the queue.

    An arrow says "imports". An arrow is left out when a longer way of arrows leads to the same place.
    """
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    imports = [
        (module, imported)
        for module in sorted(graph.modules)
        for imported in sorted(graph.find_modules_directly_imported_by(module))
    ]
    parts = [("The processes, and what they share in `jetpost/`:", _edges(imports, "jetpost", _shared))]
    parts += [(f"Inside `{each}/`:", _edges(imports, each, _room)) for each in SERVICES]
    parts.append(("Inside `jetpost/queue/`:", _edges(imports, "jetpost.queue", _queue_room)))
    return "\n".join(f"{title}\n\n{_mermaid(edges)}" for title, edges in parts)


def _shared(module: str) -> str:
    """A service as a whole, or a room of `jetpost/`."""
    first, *rest = module.split(".")
    return first if first in SERVICES or not rest else rest[0]


def _room(module: str) -> str:
    """A room, or a file of a service's root."""
    return ".".join(module.split(".")[1:2])


def _queue_room(module: str) -> str:
    """A room, or a file of the queue's root."""
    return ".".join(module.split(".")[2:3])


def _edges(imports: Iterable[tuple[str, str]], package: str, name: Callable[[str], str]) -> Edges:
    """The arrows between what `name` makes of modules in `package`; for the whole, of all modules."""
    inside = "" if package == "jetpost" else f"{package}."
    edges: Edges = {}
    for module, imported in imports:
        if module.startswith(inside) and imported.startswith(inside):
            here, there = name(module), name(imported)
            if here != there and here not in {"__main__", ""} and there:
                edges.setdefault(here, set()).add(there)
    return edges


def _mermaid(edges: Edges) -> str:
    """The diagram, without the arrows that others imply."""
    lines = ["```mermaid", "flowchart TD"]
    for here in sorted(edges):
        implied = set().union(*(_reached(edges, there, {here}) for there in edges[here]))
        lines += [f"    {here} --> {there}" for there in sorted(edges[here] - implied)]
    return "\n".join([*lines, "```", ""])


def _reached(edges: Edges, start: str, seen: set[str]) -> set[str]:
    """All that can be reached from `start`, without itself."""
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        for there in edges.get(waiting.pop(), ()):
            if there not in seen and there not in reached and there != start:
                reached.add(there)
                waiting.append(there)
    return reached
