"""What an earlier version stored is read; what a later one adds is left alone."""

import json
from typing import Any

import pytest

from jetpost.mail.content import Inline, Reference
from jetpost.queue.model.entry import ENVELOPE_HEADER, Entry
from jetpost.queue.model.states import State
from tests.fixtures.golden import Stored, stored

ENTRIES = [message for message in stored() if ENVELOPE_HEADER in message.headers]


def read(message: Stored) -> Entry:
    return Entry.decode(message.subject, message.headers[ENVELOPE_HEADER], message.payload)


@pytest.mark.parametrize("message", ENTRIES, ids=lambda it: f"{it.version}-{it.name}")
def test_every_state_of_an_earlier_version_is_read_in_full(message: Stored) -> None:
    entry = read(message)

    _, state, domain_token, queue_id = message.subject.split(".")
    assert (entry.state, entry.domain_token, entry.queue_id) == (State(state), domain_token, queue_id)
    assert entry.envelope.reverse_path == "Ann.Smith@author.golden.test"
    assert entry.envelope.origin.identity == "ann"
    assert [it.notify for it in entry.envelope.recipients] == [(), ("FAILURE", "DELAY")]
    assert entry.expires > entry.arrived
    assert isinstance(entry.content, Reference if message.name == "large" else Inline)
    assert bool(entry.failures) == (message.name == "bounce")
    assert bool(entry.last and entry.due) == (message.name == "retry")
    assert bool(entry.reason) == (message.name == "held")


@pytest.mark.parametrize("message", ENTRIES, ids=lambda it: f"{it.version}-{it.name}")
def test_writing_it_again_loses_nothing(message: Stored) -> None:
    header, payload = read(message).encode()
    assert json.loads(header).items() >= json.loads(message.headers[ENVELOPE_HEADER]).items()
    assert payload == message.payload


@pytest.mark.parametrize("message", ENTRIES, ids=lambda it: f"{it.version}-{it.name}")
def test_what_a_later_version_adds_is_left_alone(message: Stored) -> None:
    later = json.dumps(_enriched(json.loads(message.headers[ENVELOPE_HEADER])))
    assert Entry.decode(message.subject, later, message.payload) == read(message)


def test_every_state_is_there() -> None:
    assert {read(message).state for message in ENTRIES} == set(State) - {State.DONE}


def _enriched(value: Any) -> Any:
    """The same with an unknown field in every object."""
    if isinstance(value, dict):
        return {**{key: _enriched(inner) for key, inner in value.items()}, "of_a_later_version": {"deep": [1]}}
    return [_enriched(inner) for inner in value] if isinstance(value, list) else value
