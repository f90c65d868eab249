"""Tests read the log of a process that was killed in the middle of a line and started again."""

from pathlib import Path

import pytest

from tests.fixtures.process import json_lines

FIRST, SECOND = b'{"time":"1","event":"delivered","why":"{\\"time\\":\\"0\\"}"}', b'{"time":"2","event":"starting"}'


@pytest.mark.parametrize("cut", range(len(FIRST) + 1))
def test_a_line_that_was_cut_off_hides_no_other_line(tmp_path: Path, cut: int) -> None:
    log = tmp_path / "log"
    log.write_bytes(FIRST + b"\n" + FIRST[:cut] + SECOND + b"\n" + SECOND[:-1])

    read = [line["time"] for line in json_lines(log)]

    assert read == ["1", "2"]


def test_a_line_that_is_no_json_is_an_error(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b'{"time":"1",\n')

    with pytest.raises(ValueError, match="property name"):
        json_lines(log)
