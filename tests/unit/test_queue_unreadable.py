"""Whatever bytes lie in the queue are an entry or a value that says why not; nothing is raised over them."""

import json
import re
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetpost.queue.model.entry import ENVELOPE_HEADER, RECORD_BYTES_HEADER
from jetpost.queue.model.states import State
from jetpost.queue.model.unreadable import REASON_HEADER, Unreadable
from jetpost.queue.storage.shard import StoredEntry, read
from tests.fixtures.queue import fresh

NOW = datetime(2026, 11, 25, tzinfo=UTC)
LEGAL = re.compile(r"mail\.held\.[a-z0-9_=-]+\.[a-z0-9-]+")
RECORD: dict[str, Any] = json.loads(fresh().encode()[0])
ANY_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.datetimes().map(str)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from([*RECORD, "x"]), inner)),
    max_leaves=6,
)
FIELDS = ("envelope", "arrived", "expires", "trace", "attempts", "attempted", "due", "failures", "last", "content_id")
SUBJECTS = st.one_of(
    st.text(max_size=40),
    st.lists(
        st.one_of(st.sampled_from([*State, "*", ">", "", "mail", "06h0", "a_b", "=5"]), st.text()), max_size=6
    ).map(".".join),
)
BLOCKS = st.dictionaries(
    st.one_of(
        st.sampled_from([ENVELOPE_HEADER, RECORD_BYTES_HEADER, REASON_HEADER, "Nats-Rollup", "Status"]), st.text()
    ),
    st.one_of(st.text(), st.integers().map(str), st.just(json.dumps(RECORD))),
    max_size=4,
)


@given(SUBJECTS, BLOCKS, st.binary(max_size=50))
def test_anything_is_read_without_an_exception_and_can_be_held(
    subject: str, block: dict[str, str], payload: bytes
) -> None:
    found = read(subject, block, payload, 7, NOW)
    if isinstance(found, Unreadable):
        assert LEGAL.fullmatch(found.held_subject)
        copied = found.held_headers()
        assert copied[REASON_HEADER].isprintable()
        assert not any(name.lower().startswith("nats-") for name in copied)
        assert not any(set(value) & {"\r", "\n"} for name, value in copied.items() if name not in block)
        assert Unreadable.of(json.loads(json.dumps(found.record()))) == found
        again = read(found.held_subject, copied, payload, 8, NOW)
        assert isinstance(again, StoredEntry) or (again.has_key and again.held_subject == found.held_subject)


@given(st.dictionaries(st.sampled_from(FIELDS), ANY_JSON, min_size=1))
def test_a_record_with_any_values_is_an_entry_that_can_be_written_or_none(changes: dict[str, Any]) -> None:
    record = json.dumps({**RECORD, **changes})
    found = read("mail.ready.dest_test.06h0", {ENVELOPE_HEADER: record}, b"", 7, NOW)
    if isinstance(found, StoredEntry):
        headers, payload = found.entry.message()
        assert read(found.entry.subject, headers, payload, 7, NOW) == found
        assert found.entry.arrived <= max(found.entry.arrived, NOW)  # they can be compared


@given(st.lists(st.tuples(st.sampled_from(FIELDS), ANY_JSON), max_size=3), st.integers(-10, 10**7))
def test_a_length_that_lies_is_no_entry_or_another(changes: list[tuple[str, Any]], size: int) -> None:
    payload = json.dumps({**RECORD, **dict(changes)}).encode()
    found = read("mail.ready.dest_test.06h0", {RECORD_BYTES_HEADER: str(size)}, payload, 7, NOW)
    assert isinstance(found, Unreadable) or size == len(payload)


@pytest.mark.parametrize("depth", [10, 1000, 100_000])
def test_depth_is_no_trouble(depth: int) -> None:
    for deep in (b"[" * depth, b'{"a":' * depth, b'{"envelope":' + b"[" * depth):
        assert isinstance(read("mail.ready.a_b.06h0", {RECORD_BYTES_HEADER: str(len(deep))}, deep, 7, NOW), Unreadable)


def test_the_reason_stands_in_a_held_entry_that_can_be_read_again() -> None:
    entry = msgspec.structs.replace(fresh(), state=State.HELD)
    headers, payload = entry.message()
    found = read(entry.subject, {**headers, REASON_HEADER: "it was too new"}, payload, 7, NOW)
    assert isinstance(found, StoredEntry)
    assert found.entry.reason == "it was too new"
