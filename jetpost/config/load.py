"""The configuration of a process: one YAML file and the environment, checked as a whole before anything starts."""

import copy
import pkgutil
import re
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, Field, ValidationError, create_model

from jetpost.config import document, environment
from jetpost.config.explain import explain, path_of
from jetpost.config.section import Section
from jetpost.reason import reason_of

SECTIONS: dict[str, str] = {
    "nats": "jetpost.jetstream.settings:Nats",
    "queue": "jetpost.queue.provision.settings:QueueSettings",
    "events": "jetpost.events.publish:EventsSettings",
    "dns": "jetpost.dns.resolver:Dns",
    "http": "jetpost.process.http:Http",
    "dkim": "jetpost.process.dkim.settings:Dkim",
    "log": "jetpost.telemetry.log:Log",
    "ingress": "ingress.config:Ingress",
    "delivery": "delivery.config:Delivery",
    "bouncer": "bouncer.config:Bouncer",
    "up": "jetpost.up.settings:Up",
}
"""Section name → the model that is declared beside the code it configures, resolved when it is needed."""

SHARED = ("nats", "queue", "events", "dns", "http", "log")
"""The sections that every process reads."""

_ALSO = {"ingress": ("dkim",), "bouncer": ("dkim",)}
"""The sections that come with another one: of the processes that make messages."""

S = TypeVar("S", bound=Section)
_NAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")


class ConfigurationError(Exception):
    """The configuration cannot be used. `problems` has a line for each mistake."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def _host_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"must be a host name such as mx.example.org, got `{name}`")
    return name


class Configuration(Section):
    """The whole file. Every section may be left out."""

    hostname: Annotated[str, AfterValidator(_host_name)] = Field(default_factory=socket.gethostname)
    """The fully qualified name this system gives itself in SMTP and in trace fields (RFC 5321, 2.3.5). By default the
    machine's own; in a cluster set the public name that DNS resolves to its address."""


class Settings:
    """A checked configuration."""

    def __init__(self, hostname: str, sections: Iterable[Section]) -> None:
        self.hostname = hostname
        self._sections = {type(section): section for section in sections}

    def of(self, kind: type[S]) -> S:
        """The section of that class; KeyError when this process does not read it."""
        section = self._sections[kind]
        assert isinstance(section, kind)
        return section

    def section(self, name: str) -> Section:
        """The section called `name`; KeyError when this process does not read it."""
        return self._sections[_kind(name)]

    def by_name(self) -> dict[str, Section]:
        """The sections that this process reads."""
        return {name: it for name in SECTIONS if (it := self._sections.get(_kind(name))) is not None}


def _kind(name: str) -> type[Section]:
    kind: type[Section] = pkgutil.resolve_name(SECTIONS[name])
    return kind


def configuration_model(sections: Iterable[str] = tuple(SECTIONS)) -> type[Configuration]:
    """The model of a file with these `sections`."""
    fields: dict[str, Any] = {}
    for name in sections:
        section = pkgutil.resolve_name(SECTIONS[name])
        fields[name] = (section, Field(default_factory=section, description=section.__doc__))
    return create_model("Configuration", __base__=Configuration, __doc__=Configuration.__doc__, **fields)


def load(path: Path | None, environ: Mapping[str, str], *, sections: Iterable[str] = tuple(SECTIONS)) -> Settings:
    """Read the file at `path` (None: defaults) and the `JETPOST_…` variables, and check them.

    Only `sections` are looked at: a delivery pod need not have the ingress's certificate. ConfigurationError names
    every mistake at once.
    """
    sections = tuple(dict.fromkeys(it for section in sections for it in (*_ALSO.get(section, ()), section)))
    try:
        text = "" if path is None else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else ""
        raise ConfigurationError([f"{path}: cannot be read: {why or reason_of(error)}"]) from error
    checked = check(text, environ, configuration_model(sections), name=str(path))
    return Settings(checked.hostname, [getattr(checked, section) for section in sections])


def check(text: str, environ: Mapping[str, str], model: type[Configuration], *, name: str) -> Configuration:
    """The configuration that `text` and `environ` describe.

    ConfigurationError has all mistakes, each with its place in the file `name` or in the environment.
    """
    found = document.read(text)
    variables = environment.overrides(environ)
    data = copy.deepcopy(found.data)

    def told(path: document.Path, sentence: str) -> tuple[int, str]:
        """The line in the file (0: elsewhere), and the whole sentence."""
        dotted = ".".join(_named(path, data))
        variable = next((variables[key][0] for key in variables if key == path[: len(key)]), None)
        line = 0 if variable else found.line(path) or 0
        place = f"{variable}: " if variable else f"{name}:{line}: " if line else ""
        return line, place + (f"{dotted}: {sentence}" if dotted else sentence)

    problems = [told(path, sentence) for path, sentence in found.problems]
    _select(data, variables, model)
    for path, (_, text_of_variable) in variables.items():
        if not environment.apply(data, path, text_of_variable, model):
            problems.append(told(path, "there is no such value to override"))
    try:
        checked = model.model_validate(data)
    except ValidationError as error:
        mistakes = [(path_of(mistake, data), mistake) for mistake in error.errors(include_url=False)]
        # A list is too short for pydantic when what is in it is wrong: that is no mistake of its own.
        inner = {path[:depth] for path, _ in mistakes for depth in range(len(path))}
        for path, mistake in mistakes:
            if mistake["type"] != "too_short" or path not in inner:
                problems.append(told(path, explain(mistake, path, model, data)))
    except OSError as error:  # from a validator that opens the file it is told of
        problems.append((0, f"cannot use {error.filename}: {error.strerror}"))
    if problems:
        raise ConfigurationError([sentence for _, sentence in sorted(dict.fromkeys(problems))])
    return checked


def _named(path: document.Path, data: Any) -> Iterable[str]:
    """The elements of `path`; an item of a list that has a name has it behind its number: `0 (submission)`."""
    for element in path:
        try:
            data = data[element]
        except (KeyError, IndexError, TypeError):
            data = None
        name = data.get("name") if isinstance(element, int) and isinstance(data, dict) else None
        yield f"{element} ({name[:64]})" if isinstance(name, str) and name.isprintable() else str(element)


def _select(data: dict[str, Any], variables: dict[document.Path, tuple[str, str]], model: type[BaseModel]) -> None:
    """Leave out the sections of other processes, and give those of `model` a mapping even when nothing is set."""
    for section in SECTIONS:
        if section not in model.model_fields:
            data.pop(section, None)
            for path in [path for path in variables if path[0] == section]:
                del variables[path]
        elif data.get(section) is None:
            data[section] = {}
