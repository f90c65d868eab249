"""How events look on a screen: in columns that do not touch."""

from datetime import UTC, datetime
from typing import Any

import pytest

from jetpost.cli.events import _STYLES, _line
from jetpost.events.record import Event, Received, SenderWarned

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
_VALUES = {
    "recipients": ("ann@dest.test",),
    "recipient": "ann@dest.test",
    "size": 5,
    "status": "4.7.8",
    "why": "greylisted",
    "attempts": 1,
    "seconds": 1.0,
    "host": "mx.dest.test",
    "reply": "250",
    "faults": ("spf",),
    "author": "me@home.test",
}


def event(kind: Any) -> Event:
    fields = {name: value for name, value in _VALUES.items() if name in kind.__struct_fields__}
    made: Event = kind(time=NOW, queue_id="06h1", domain="dest.test", reverse_path="me@home.test", **fields)
    return made


@pytest.mark.parametrize("kind", list(_STYLES))
def test_the_columns_of_events_do_not_touch(kind: type) -> None:
    words = _line(event(kind)).plain.split()

    assert words[1:3] == [_STYLES[kind][0], "06h1"]


def test_the_columns_of_all_kinds_begin_alike() -> None:
    assert len({_line(event(kind)).plain.index("06h1") for kind in _STYLES}) == 1
    assert {Received, SenderWarned} <= set(_STYLES)
