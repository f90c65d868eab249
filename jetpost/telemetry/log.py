"""Structured logs: one JSON object a line on stderr, with the queue id on every line about a message.

Nobody can fill a disk or stop a process through them. Warnings and errors, and what a client can cause at will, are
limited (`jetpost.telemetry.log_limit`). Texts are cut. What cannot be encoded is escaped. A line that cannot be written
is lost.
"""

import logging
import sys
import time
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Annotated, Any, BinaryIO, Literal, cast

import msgspec
import structlog
from pydantic import Field
from structlog.typing import FilteringBoundLogger, Processor

from jetpost.config.section import Section
from jetpost.telemetry.log_limit import LogLimit

OUTCOMES = frozenset({"accepted", "delivered", "deferred", "bounced", "expired", "held", "quarantined", "DSN queued"})
"""Lines that say what became of a message: each is written."""
_MESSAGE_FIELDS = frozenset(
    {"queue_id", "dsn_id", "recipient", "reverse_path", "to", "sequence", "subject", "size", "due"}
)
_AMOUNTS = frozenset(
    {"entries", "waiting", "seconds", "retry_in_s", "patience_s", "connections", "sessions", "attempt", "pid"}
)
_NO_CAUSE = _MESSAGE_FIELDS | _AMOUNTS | {"exc_info", "exception"}
"""Fields that tell one line from the next, and are neither its cause nor its object."""
_LONGEST_TEXT = 2_000
_LONGEST_TRACEBACK = 16_000
_MOST_ELEMENTS = 50
_SHORT = frozenset({int, float, bool, type(None)})
"""Kinds of value that are never cut."""
_MOST_CAUSES = 20
"""Warnings or errors of one event in `log.repeat_after_s`, each of another cause or object."""
_MOST_CLIENTS = 200
"""The same for lines that clients cause."""


class Log(Section):
    """What is logged, and how it looks. Never a message's body, never a credential."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Less important lines are left out."""
    format: Literal["auto", "json", "console"] = "auto"
    """`json`: one object a line; `console`: for people; `auto`: `console` when stderr is a terminal, else `json`."""
    repeat_after_s: Annotated[float, Field(ge=0)] = 10
    """A warning or an error of one cause and object is written once in this time. The same holds for a line that a
    client causes. The next line counts in `repeated` how many were left out. 0 writes all of them. The outcome of a
    message is always written."""


def logger(name: str) -> FilteringBoundLogger:
    """The logger of the module `name`: `log.info("delivered", queue_id=…)`. Usable before `configure`.

    A line below `warning` is limited when it has a field `limited_by`: the texts that make up its cause and object.
    """
    return cast("FilteringBoundLogger", structlog.get_logger(name))


def configure(service: str, settings: Log, *, silent: bool = False) -> None:
    """Send every log line of this process, the libraries' included, to stderr in the form of `settings`.

    `silent`: none of them, as the output of a command says it all.
    """
    console = settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())
    level = logging.CRITICAL if silent else logging.getLevelNamesMapping()[settings.level.upper()]
    processors: list[Processor] = [
        structlog.processors.add_log_level,
        _Limit(LogLimit(settings.repeat_after_s)),
        structlog.processors.format_exc_info,
        _Lines(service),
        _for_people if console else _as_json,
    ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_Stderr(sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )
    logging.captureWarnings(capture=True)
    root = logging.getLogger()
    root.handlers = [_Bridge()]
    root.setLevel(max(level, logging.WARNING))


class _Limit:
    """Leaves out what repeats."""

    def __init__(self, limit: LogLimit) -> None:
        self._limit = limit

    def __call__(self, _: object, __: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        level, event = fields["level"], fields["event"]
        cause: tuple[str, ...] | None = fields.pop("limited_by", None)
        if cause is None:
            if level in ("info", "debug", "critical") or event in OUTCOMES:
                return fields
            cause = _cause(fields)
        most = _MOST_CLIENTS if level == "info" else _MOST_CAUSES
        passed = self._limit.passes(f"{level} {fields.get('source', event)}", cause, time.monotonic(), most)
        if passed is None:
            raise structlog.DropEvent
        if passed.repeated:
            fields["repeated"] = passed.repeated
        if passed.others:
            fields["others_left_out"] = passed.others
        return fields


def _cause(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Cause and object of a line: its fields without those of one message, and the kind of its exception."""
    texts = [f"{name}={_printable(value)}"[:_LONGEST_TEXT] for name, value in fields.items() if name not in _NO_CAUSE]
    if error := fields.get("exc_info"):
        texts.append(str(sys.exc_info()[0] if error is True else type(error)))
    return tuple(texts)


class _Lines:
    """Puts time, level, service and event first, so that a line can be read from its beginning."""

    def __init__(self, service: str) -> None:
        self._service = service

    def __call__(self, _: object, __: str, fields: MutableMapping[str, Any]) -> Mapping[str, Any]:
        time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        event = _cut(fields.pop("event"), _LONGEST_TEXT)
        head = {"time": time, "level": fields.pop("level"), "service": self._service, "event": event}
        for name, value in fields.items():
            if type(value) in _SHORT or (type(value) is str and len(value) <= _LONGEST_TEXT):
                head[name] = value
            else:
                head[name] = _cut(value, _LONGEST_TRACEBACK if name == "exception" else _LONGEST_TEXT)
        return head


def _cut(value: Any, longest: int) -> Any:
    """`value`, or as much of it as a line may have."""
    if isinstance(value, str):
        return value if len(value) <= longest else f"{value[:longest]}… ({len(value)} characters)"
    if isinstance(value, list | tuple | set | frozenset):
        return [_cut(each, longest) for each, _ in zip(value, range(_MOST_ELEMENTS), strict=False)]
    return value


_encoder = msgspec.json.Encoder(enc_hook=str)


def _as_json(_: object, __: str, fields: Mapping[str, Any]) -> bytes:
    try:
        return _encoder.encode(fields)
    except Exception:  # a lone surrogate, a value whose text cannot be made
        return _encoder.encode({name: _printable(value) for name, value in fields.items()})


def _for_people(_: object, __: str, fields: Mapping[str, Any]) -> bytes:
    told = " ".join(f"{name}={_visible(value)}" for name, value in list(fields.items())[4:] if name != "exception")
    trace = f"\n{fields['exception']}" if "exception" in fields else ""
    event = _visible(fields["event"])
    line = f"{fields['time'][11:19]} {fields['level']:<7} {fields['service']:<8} {event} {told}"
    return (line.rstrip() + trace).encode(errors="backslashreplace")


def _visible(value: Any) -> str:
    """The text of `value` without a control character: what a stranger said moves no cursor of a terminal."""
    text = _printable(value)
    return text if text.isprintable() else "".join(it if it.isprintable() else repr(it)[1:-1] for it in text)


def _printable(value: Any) -> str:
    """The text of `value`, which can be encoded; lone surrogates are escaped."""
    try:
        return str(value).encode(errors="backslashreplace").decode()
    except Exception as error:  # a `__str__` of whatever kind
        return f"<{type(value).__name__}: {type(error).__name__}>"


class _Stderr:
    """Makes loggers that write lines to `file`, and survive that nobody reads it any more."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def __call__(self, *_: object) -> "_Stderr":
        return self

    def msg(self, line: bytes) -> None:
        """Write `line`. A closed or full file loses it: nothing that a process does depends on its log."""
        try:
            self._file.write(line + b"\n")
            self._file.flush()
        except (OSError, ValueError):
            pass

    debug = info = warning = error = critical = exception = msg


class _Bridge(logging.Handler):
    """Lines of libraries that log through the standard library."""

    def emit(self, record: logging.LogRecord) -> None:
        """Hand one record on."""
        log = structlog.get_logger(record.name)
        log.log(
            record.levelno,
            record.getMessage(),
            source=record.name,
            # The text before its values are put in: a cause, where the whole would be a new one each time.
            limited_by=(str(record.msg)[:_LONGEST_TEXT],),
            **({"exc_info": record.exc_info} if record.exc_info else {}),
        )
