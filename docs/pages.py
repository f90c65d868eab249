"""The generated pages, each made from the code it is about."""

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any, get_args

import msgspec
import typer
from prometheus_client.metrics import MetricWrapperBase
from typer.core import TyperGroup

from delivery.classify.phases import RULES
from jetpost.cli.config.reference import reference
from jetpost.cli.main import COMMANDS, app
from jetpost.config.load import configuration_model
from jetpost.doctor.finding import KINDS
from jetpost.events.publish import STREAM as EVENTS_STREAM
from jetpost.events.record import Event
from jetpost.mail.reply import Reply
from jetpost.queue.content.large import CHUNK_BYTES
from jetpost.queue.model.entry import ENVELOPE_HEADER, RECORD_BYTES_HEADER
from jetpost.queue.model.states import MOVES, State
from jetpost.queue.model.transition import TOMBSTONE_TTL_S
from jetpost.queue.provision.stream import CONTENT_STREAM
from jetpost.sender.requirements import AS_OF, PROVIDERS, Demand, demanded_by

PACKAGES = ("jetpost", "ingress", "delivery", "bouncer")

_TO_COME = "nobody yet: for an operator's command to come"
_CONTESTED = "delivery: everybody has the message, and another process may have the entry as well"
WHO: dict[tuple[State, State], str] = {
    (State.READY, State.READY): "delivery, before an attempt: another process may have the entry as well",
    (
        State.READY,
        State.PARKED,
    ): "delivery: the domain's lane is full; or it is near quarantine after many NAKs and is stored again",
    (
        State.READY,
        State.RETRY,
    ): "delivery: recipients are deferred; or their route is throttled, or too many entries wait for it",
    (State.READY, State.BOUNCE): "delivery: recipients failed, or their time is up",
    (State.READY, State.HELD): "delivery: claimed more than `queue.quarantine_after` times without an outcome, or its "
    "successors can never be stored, or it cannot be read",
    (State.READY, State.DONE): _CONTESTED,
    (State.PARKED, State.PARKED): "delivery, before an attempt: another process may have the entry as well",
    (State.PARKED, State.READY): "delivery: it is near quarantine after many NAKs and is stored again",
    (State.PARKED, State.RETRY): "delivery: its lane claimed it again, and recipients are deferred",
    (State.PARKED, State.BOUNCE): "delivery: its lane claimed it again, and recipients failed; the watchdog: overdue",
    (State.PARKED, State.HELD): "delivery: as from `ready`",
    (State.PARKED, State.DONE): _CONTESTED,
    (
        State.RETRY,
        State.READY,
    ): "nats-server, at the time in `Nats-Schedule`; or delivery's watchdog, when that has passed",
    (State.RETRY, State.HELD): "delivery's watchdog: it cannot be read",
    (State.RETRY, State.BOUNCE): _TO_COME,
    (State.BOUNCE, State.HELD): "bouncer: no DSN can be made of it, it cannot be read, or it was claimed too often "
    "without an outcome",
    (State.BOUNCE, State.DONE): "bouncer: together with the DSN to the sender; or as delivery, without one",
    (State.HELD, State.READY): "an operator: `jetpost queue release`",
    (State.HELD, State.BOUNCE): "an operator: `jetpost queue release`, when its recipients had failed",
    (State.HELD, State.DONE): "an operator: `jetpost queue delete`",
}
"""Who makes each legal move."""


def states() -> str:
    """The states with their subjects, and every legal move with who makes it."""
    about = _attribute_docs(State)
    subjects = [(f"`mail.{state.value}.<domain>.<queue-id>`", about[state.name]) for state in State]
    moves = [
        (f"`{state.value}`", f"`{following.value}`", WHO[state, following])
        for state in State
        for following in State
        if following in MOVES[state]
    ]
    return _table(("subject", "what it means"), *subjects) + "\n" + _table(("from", "to", "who"), *moves)


def configuration() -> str:
    """Every value of the configuration."""
    return reference(configuration_model())


def metrics() -> str:
    """Every metric, with the file that moves it."""
    rows: dict[str, tuple[str, ...]] = {}
    for module in _modules():
        source = inspect.getsource(module)
        for metric in (it for it in vars(module).values() if isinstance(it, MetricWrapperBase)):
            described = next(iter(metric.describe()))
            name = described.name + ("_total" if described.type == "counter" else "")
            if f'"{name}"' in source:
                rows[name] = (f"`{name}`", described.type, described.documentation, f"`{module.__name__}`")
    intro = """\
Each process serves its own at `/metrics`. A metric is declared in the file that changes it. A process serves those of
the rooms that it uses, and the `process_…` and `python_…` metrics of the Prometheus client."""
    return _head("the metrics in the code", "Metrics", intro) + _table(
        ("metric", "type", "what it says", "moved in"), *(rows[name] for name in sorted(rows))
    )


def events() -> str:
    """Every kind of event, with its fields."""
    intro = f"""\
What happens to a message is published to the stream {EVENTS_STREAM}, subject `events.<service>`: many events in one
NATS message, a line of JSON each. `jetpost events` follows it. Events never delay mail. So an event may be published
twice, when its publication was repeated. An event may be missing, when its process was killed before the publication,
or the stream could not keep up. New versions may add fields and kinds: ignore those that you do not know."""
    text = _head("`jetpost/events/record.py`", "Events", intro)
    for kind in get_args(Event):
        fields = [field for field in msgspec.structs.fields(kind) if field.name != "event"]
        ours = [base for base in reversed(kind.__mro__) if base.__module__ == kind.__module__]
        about = {name: sentence for base in ours for name, sentence in _attribute_docs(base).items()}
        rows = [(f"`{it.name}`", _type_name(it.type), about.get(it.name, "")) for it in fields]
        text += f"## `{kind.__struct_config__.tag}`\n\n{inspect.getdoc(kind)}\n\n"
        text += _table(("field", "type", "what it says"), *rows) + "\n"
    return text.rstrip() + "\n"


def subjects() -> str:
    """The streams and every subject in them."""
    shown = ", ".join(f"`{state.value}`" for state in State)
    rows = [
        (
            "`MAIL`, `MAIL-<k>`",
            "`mail.<state>.<domain>.<queue-id>`, `mail-<k>.…`",
            f"An entry; its state is one of {shown}",
        ),
        (f"`{CONTENT_STREAM}`", "`content.<content-id>.chunk.<n>`", f"Large content, {CHUNK_BYTES // 1024} KiB each"),
        (f"`{CONTENT_STREAM}`", "`content.<content-id>.ref.<domain>-<queue-id>`", "An entry that needs this content"),
        (f"`{EVENTS_STREAM}`", "`events.<service>`", "Events of a service, JSON lines"),
    ]
    headers = [
        (f"`{ENVELOPE_HEADER}`", "one line of JSON: everything about the entry but its content"),
        (
            f"`{RECORD_BYTES_HEADER}`",
            "instead of it where that is too large: how many bytes of it stand before the content",
        ),
        (
            "`Nats-Expected-Last-Subject-Sequence`, `…-Subject`",
            "the expected last sequence: what must be the latest under the entry's key",
        ),
        ("`Nats-Schedule`, `Nats-Schedule-Target`", "of `retry`: when, and the `ready` subject it then goes to"),
        ("`Nats-TTL`", f"of `done`: {TOMBSTONE_TTL_S} s, then it is gone"),
        ("`Nats-Msg-Id`", "of fresh entries: their subject"),
    ]
    intro = """\
`<domain>` is the recipient domain as one token: lower case, with dots as `_`. Characters other than letters, digits and
`-` are `=` and their number in hexadecimal. Durable consumers of a `MAIL` stream are `ready` and `bounce`, shared by
all processes, and `parked-<domain>` while a domain is congested. [states.md](../states.md) describes the states and
their moves."""
    head = _head("the constants of `jetpost/queue/` and `jetpost/events/`", "Streams, subjects and headers", intro)
    return head + _table(("stream", "subject", "is"), *rows) + "\n" + _table(("header of an entry", "says"), *headers)


def replies() -> str:
    """What a remote host's answer leads to, and what clients hear from us."""
    intro = """\
What an unwelcome answer means in each phase of an attempt. *next host*: the next MX host is tried, and the recipients
are deferred when none is left. 421 counts as a broken connection of the host, in every phase. 552 to RCPT counts as
452, and 530 to MAIL, RCPT and DATA as 450. A code outside 200–599 is heard as 451. Whom it concerns: all of the host's
recipients, the message's, or one."""
    rows = [
        (phase.value, rule.scope.value, rule.on_4yz.value, rule.on_5yz.value, rule.on_break.value)
        for phase, rule in RULES.items()
    ]
    head = _head("`delivery/classify/phases.py` and the replies in the code", "Replies", "## What we hear\n\n" + intro)
    ours = {
        reply: module.__name__
        for module in _modules()
        for name, value in vars(module).items()
        for reply in [value if isinstance(value, Reply) else getattr(value, "reply", None)]
        if isinstance(reply, Reply)
        if f"\n{name} = " in inspect.getsource(module)
    }
    said = [(f"`{reply}`", f"`{ours[reply]}`") for reply in sorted(ours, key=lambda it: (it.code, str(it)))]
    told = _table(("phase", "whom it concerns", "4yz", "5yz", "connection broke"), *rows)
    return head + told + "\n## What clients hear\n\n" + _table(("reply", "said in"), *said)


def findings() -> str:
    """What `jetpost doctor` may find, and what providers demand."""
    intro = """\
`jetpost doctor` prints findings. Each has an id, a severity (ok, skipped, warning, error), what was found, and how to
mend it. Exit status 1: there are warnings, 2: there are errors."""
    rows = [(f"`{name}`", kind.means, kind.mend) for name, kind in KINDS.items()]
    text = _head("`jetpost/doctor/finding.py` and `jetpost/sender/requirements.py`", "Findings of the doctor", intro)
    text += _table(("id", "what it checks", "how to mend it"), *rows)
    text += f"\n## What providers demand\n\nThe facts are as of {AS_OF}.\n\n"
    text += _table(("demand", "who"), *[(str(it), demanded_by(it)) for it in Demand])
    providers = [
        (name, f"{it.bulk_per_day} a day" if it.bulk_per_day else "no number is published", f"`{it.refusal}`")
        for name, it in PROVIDERS.items()
    ]
    return text + "\n" + _table(("provider", "messages that make a bulk sender", "its refusal begins with"), *providers)


def commands() -> str:
    """The command line."""
    root = typer.main.get_command(app)
    assert isinstance(root, TyperGroup)
    context = typer.Context(root, info_name="jetpost")
    text = _head("the commands in `jetpost/cli/`", "The command line", "`jetpost COMMAND --help` says the same.")
    for name, command in COMMANDS.items():
        _, found, _ = root.resolve_command(context, [name])
        text += _command(f"jetpost {name}", found, command.does)
    return text.rstrip() + "\n"


def _command(name: str, command: Any, does: str = "") -> str:
    """What `--help` says, for a command and those below it."""
    context = typer.Context(command, info_name=name)
    usage = " ".join(command.collect_usage_pieces(context))
    text = f"## `{name} {usage}`\n\n{inspect.cleandoc(command.help or does)}\n\n"
    records = [parameter.get_help_record(context) for parameter in command.params]
    options = [f"- `{record[0]}`: {record[1]}\n" for record in records if record and "--help" not in record[0]]
    text += "".join(options) + "\n" * bool(options)
    if isinstance(command, TyperGroup):
        for below in command.list_commands(context):
            text += _command(f"{name} {below}", command.get_command(context, below))
    return text


def _modules() -> Iterator[ModuleType]:
    """Every module of Jetpost."""
    for package in PACKAGES:
        for found in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if not found.ispkg and not found.name.endswith("__main__"):
                yield importlib.import_module(found.name)


def _attribute_docs(described: type[Any]) -> dict[str, str]:
    """The sentence under each attribute of a class, by the attribute's name."""
    body = ast.parse(inspect.getsource(described)).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for before, after in zip(body.body, body.body[1:], strict=False):
        target = before.targets[0] if isinstance(before, ast.Assign) else getattr(before, "target", None)
        text = getattr(after, "value", None)
        if isinstance(target, ast.Name) and isinstance(text, ast.Constant) and isinstance(text.value, str):
            found[target.id] = " ".join(text.value.split())
    return found


def _head(source: str, title: str, intro: str) -> str:
    return f"<!-- Generated by `make generate` from {source}: change it there. -->\n\n# {title}\n\n{intro}\n\n"


def _type_name(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _table(*rows: tuple[str, ...]) -> str:
    """A Markdown table; the first row is its head."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]) + "\n"
