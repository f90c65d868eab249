"""What the sections of a configuration say of themselves, of their secret files, and of one another."""

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from jetpost.config.explain import did_you_mean
from jetpost.config.section import Secret, Section

_GROUP, _OTHERS = 0o070, 0o007
_MOST_TOLD = 50


def faults_of(sections: Mapping[str, Section]) -> tuple[str, ...]:
    """What cannot work, though the processes run."""
    return tuple(fault for section in sections.values() for fault in section.faults())


def remarks_of(sections: Mapping[str, Section]) -> tuple[str, ...]:
    """The remarks of sections by name: their own, about their secret files, and about what does not fit together."""
    told = [remark for section in sections.values() for remark in section.remarks()]
    told += [remark for name, section in sections.items() for remark in exposed(section, name)]
    if "ingress" in sections and "delivery" in sections:
        told += _of_no_listener(sections["ingress"], sections["delivery"])
    return tuple(told)


def _of_no_listener(ingress: Any, delivery: Any) -> list[str]:
    """Routes for listeners that this file does not have: another one may, of other ingress processes."""
    names = {listener.name for listener in ingress.listeners}
    unknown = [(rule.name, it) for rule in delivery.routes for it in rule.match.listeners if it not in names]
    return [
        f"delivery.routes ({route}): match.listeners has `{name}`, but there is no such listener in `ingress.listeners`"
        f"{did_you_mean(name, names)}; unless another configuration has one, it matches no mail"
        for route, name in unknown
    ]


def exposed(section: Section, name: str) -> tuple[str, ...]:
    """A sentence for each secret file of `section`, which is at the path `name` of the configuration.

    The group counts where the file is the process's own. In a cluster a Secret is root's, and the group is the pod's.
    """
    found = ((place, file, _who_reads(file)) for place, file in _secrets(section, name))
    told = [
        f"{place}: {file} can be read by {who}; run `chmod {'600' if 'group' in who else 'o='} {file}`"
        for place, file, who in found
        if who
    ]
    return tuple(dict.fromkeys(told))[:_MOST_TOLD]


def _who_reads(file: Path) -> str:
    try:
        found = file.stat()
    except OSError:
        return ""
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid == os.geteuid() and mode & _GROUP:
        return "its group and by others" if mode & _OTHERS else "its group"
    return "others" if mode & _OTHERS else ""


def _secrets(value: Any, name: str) -> Iterator[tuple[str, Path]]:
    if isinstance(value, tuple | list):
        for number, item in enumerate(value):
            called = getattr(item, "name", None)
            yield from _secrets(item, f"{name}.{number} ({called})" if called else f"{name}.{number}")
    elif isinstance(value, Section):
        for field, about in type(value).model_fields.items():
            inner = getattr(value, field)
            is_secret = any(isinstance(it, Secret) for it in about.metadata) or _is_marked(about.annotation)
            if is_secret and isinstance(inner, Path):
                yield f"{name}.{field}", inner
            else:
                yield from _secrets(inner, f"{name}.{field}")


def _is_marked(annotation: Any) -> bool:
    if get_origin(annotation) is Annotated:
        return any(isinstance(it, Secret) for it in get_args(annotation)[1:])
    return any(_is_marked(it) for it in get_args(annotation))
