"""Log lines: JSON with the known fields first, or readable at a terminal; libraries' lines alike."""

import json
import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from jetpost.process.log import Log, configure, logger


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    root.handlers = handlers
    root.setLevel(level)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_a_line_is_one_json_object_with_time_level_service_and_event_first(capsys: pytest.CaptureFixture[str]) -> None:
    configure("delivery", Log(format="json"))

    logger("test").info("delivered", queue_id="q1", where=Path("/x"), recipient="jos\u00e9@dest.test\n")

    (line,) = lines(capsys)
    fields = json.loads(line)
    assert list(fields) == ["time", "level", "service", "event", "queue_id", "where", "recipient"]
    assert fields["time"].endswith("Z")
    assert (fields["level"], fields["service"], fields["event"]) == ("info", "delivery", "delivered")
    assert fields["recipient"] == "jos\u00e9@dest.test\n"


def test_less_important_lines_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    configure("delivery", Log(format="json", level="warning"))

    logger("test").info("small")
    logger("test").warning("great")

    assert [json.loads(line)["event"] for line in lines(capsys)] == ["great"]


def test_an_exception_keeps_its_traceback_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure("delivery", Log(format="json"))

    try:
        int("broken")
    except ValueError:
        logger("test").exception("crashed")

    (line,) = lines(capsys)
    assert json.loads(line)["exception"].endswith("ValueError: invalid literal for int() with base 10: 'broken'")


def test_libraries_and_warnings_speak_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    configure("delivery", Log(format="json"))

    logging.getLogger("library").warning("cannot %s", "go on")
    logging.getLogger("library").info("chatter")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("old habit", stacklevel=1)

    first, second = (json.loads(line) for line in lines(capsys))
    assert (first["event"], first["level"], first["source"]) == ("cannot go on", "warning", "library")
    assert "old habit" in second["event"]


def test_people_get_a_readable_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    configure("up", Log())

    logger("test").error("process died", process="nats")

    (line,) = lines(capsys)
    assert line[8:] == " error   up       process died process=nats"
