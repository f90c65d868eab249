"""Structured logs: one JSON object a line on stderr, with the queue id on every line about a message."""

import logging
import sys
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any, Literal, cast

import msgspec
import structlog
from structlog.typing import FilteringBoundLogger, Processor

from jetpost.config.section import Section


class Log(Section):
    """What is logged, and how it looks. Never a message's body, never a credential."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Less important lines are left out."""
    format: Literal["auto", "json", "console"] = "auto"
    """`json`: one object a line; `console`: for people; `auto`: `console` when stderr is a terminal, else `json`."""


def logger(name: str) -> FilteringBoundLogger:
    """The logger of the module `name`: `log.info("delivered", queue_id=…)`. Usable before `configure`."""
    return cast("FilteringBoundLogger", structlog.get_logger(name))


def configure(service: str, settings: Log) -> None:
    """Send every log line of this process, the libraries' included, to stderr in the form of `settings`."""
    console = settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    processors: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.format_exc_info,
        _Lines(service),
        _for_people if console else _as_json,
    ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.BytesLoggerFactory(file=sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )
    logging.captureWarnings(capture=True)
    root = logging.getLogger()
    root.handlers = [_Bridge()]
    root.setLevel(max(level, logging.WARNING))


class _Lines:
    """Puts time, level, service and event first, so that a line can be read from its beginning."""

    def __init__(self, service: str) -> None:
        self._service = service

    def __call__(self, _: object, __: str, fields: MutableMapping[str, Any]) -> Mapping[str, Any]:
        time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        head = {"time": time, "level": fields.pop("level"), "service": self._service, "event": fields.pop("event")}
        return {**head, **fields}


_encoder = msgspec.json.Encoder(enc_hook=str)


def _as_json(_: object, __: str, fields: Mapping[str, Any]) -> bytes:
    return _encoder.encode(fields)


def _for_people(_: object, __: str, fields: Mapping[str, Any]) -> bytes:
    told = " ".join(f"{name}={value}" for name, value in list(fields.items())[4:] if name != "exception")
    trace = f"\n{fields['exception']}" if "exception" in fields else ""
    line = f"{fields['time'][11:19]} {fields['level']:<7} {fields['service']:<8} {fields['event']} {told}"
    return (line.rstrip() + trace).encode(errors="replace")


class _Bridge(logging.Handler):
    """Lines of libraries that log through the standard library."""

    def emit(self, record: logging.LogRecord) -> None:
        """Hand one record on."""
        log = structlog.get_logger(record.name)
        log.log(
            record.levelno,
            record.getMessage(),
            source=record.name,
            **({"exc_info": record.exc_info} if record.exc_info else {}),
        )
