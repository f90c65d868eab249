"""Durations and sizes as people write them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetpost.config.units import BYTES, SECONDS, Unit, for_people, in_base_units, unit_of


@pytest.mark.parametrize(
    ("text", "unit", "number"),
    [
        ("90s", SECONDS, "90"),
        ("5m", SECONDS, "300"),
        ("5 min", SECONDS, "300"),
        ("1h30m", SECONDS, "5400"),
        ("1h 30m", SECONDS, "5400"),
        ("2d", SECONDS, "172800"),
        ("1.5h", SECONDS, "5400"),
        ("250ms", SECONDS, "0.25"),
        ("10MB", BYTES, "10000000"),
        ("10mb", BYTES, None),
        ("10M", BYTES, "10000000"),
        ("64KiB", BYTES, "65536"),
        ("64Ki", BYTES, "65536"),
        ("0.3kB", BYTES, "300"),
        ("8 MiB", BYTES, "8388608"),
        ("100B", BYTES, "100"),
        ("300", SECONDS, None),
        ("5M", SECONDS, None),
        ("soon", SECONDS, None),
        ("-5m", SECONDS, None),
        ("1e3s", SECONDS, None),
        ("10m", BYTES, None),
        ("5m", BYTES, None),
        ("1MB2KB", BYTES, None),
        ("", SECONDS, None),
    ],
)
def test_what_people_write(text: str, unit: Unit, number: str | None) -> None:
    assert in_base_units(text, unit) == number


@pytest.mark.parametrize(
    ("field", "unit"),
    [
        ("drain_s", SECONDS),
        ("message_bytes", BYTES),
        ("slowest_bytes_per_s", BYTES),
        ("port", None),
        ("hosts_max", None),
    ],
)
def test_the_name_of_a_value_says_its_unit(field: str, unit: Unit | None) -> None:
    assert unit_of(field) is unit


@given(st.from_regex(SECONDS.pattern) | st.from_regex(BYTES.pattern))
def test_the_pattern_of_the_chart_and_the_reader_agree(text: str) -> None:
    for unit in (SECONDS, BYTES):
        assert (in_base_units(text, unit) is not None) == bool(re.fullmatch(unit.pattern, text))


@pytest.mark.parametrize(
    ("number", "unit", "text"),
    [
        (600, SECONDS, "10m"),
        (0.5, SECONDS, "0.5s"),
        (90, SECONDS, "90s"),
        (0, SECONDS, "0"),
        (50_000_000, BYTES, "50MB"),
        (1024 * 1024, BYTES, "1MiB"),
        (1500, BYTES, "1500B"),
        (1023, BYTES, "1023B"),
    ],
)
def test_a_number_has_its_shortest_text(number: float, unit: Unit, text: str) -> None:
    assert for_people(number, unit) == text


@given(st.integers(0, 10**15), st.sampled_from([SECONDS, BYTES]))
def test_a_text_for_people_means_the_number(number: int, unit: Unit) -> None:
    text = for_people(number, unit)
    assert float(in_base_units(text, unit) or text) == number
