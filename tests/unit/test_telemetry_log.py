"""Log lines: JSON with the known fields first, or readable at a terminal; libraries' lines alike."""

import io
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from jetpost.telemetry.log import Log, configure, logger


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


def test_a_warning_that_repeats_is_written_once(capsys: pytest.CaptureFixture[str]) -> None:
    configure("delivery", Log(format="json"))

    for number in range(1000):
        logger("test").warning("cannot move", queue_id=f"q{number}", error="disk full")
    logger("test").warning("cannot move", queue_id="q", error="no leader")

    assert [json.loads(line)["error"] for line in lines(capsys)] == ["disk full", "no leader"]


def test_the_next_warning_counts_those_before_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    configure("delivery", Log(format="json"))

    for now in (0.0, 1.0, 2.0, 11.0):  # noqa: B007 — read by the clock
        logger("test").warning("cannot move", queue_id="q", error="disk full")

    assert [json.loads(line).get("repeated") for line in lines(capsys)] == [None, 2]


def test_each_outcome_of_a_message_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    configure("delivery", Log(format="json"))

    for number in range(100):
        logger("test").error("held", queue_id=f"q{number}", reason="poison")

    assert len(lines(capsys)) == 100


def test_lines_of_libraries_are_limited_by_their_text_before_values(capsys: pytest.CaptureFixture[str]) -> None:
    configure("delivery", Log(format="json"))

    for number in range(100):
        logging.getLogger("asyncio").error("connection %s broke", number)

    assert len(lines(capsys)) == 1


def test_a_line_is_cut_and_never_fails_for_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError

    configure("delivery", Log(format="json"))

    logger("test").info("deferred", why="x" * 1_000_000, names=["y" * 10_000] * 10_000)
    logger("test").info("deferred", why="\udcff", name=Broken())

    long, odd = lines(capsys)
    assert len(long) < 150_000
    assert json.loads(long)["why"].endswith("… (1000000 characters)")
    assert json.loads(odd)["why"] == "\\udcff"


def test_people_see_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    configure("delivery", Log(format="console"))

    logger("test").info("deferred", why="\x1b[2J\r\ngone")

    (line,) = lines(capsys)
    assert line.endswith(r"why=\x1b[2J\r\ngone")


def test_a_log_that_nobody_can_read_any_more_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb", buffering=0) as broken:
        monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BufferedWriter(broken)))
        configure("delivery", Log(format="json"))

        logger("test").info("accepted", queue_id="q1")
