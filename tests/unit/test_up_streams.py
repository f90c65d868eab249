"""Whether the streams are back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetpost.up.streams import Seen, not_back, settled

KNOWN = {"MAIL": Seen(100, 40), "CONTENT": Seen(7)}


@pytest.mark.parametrize(
    ("found", "missing"),
    [
        ({"MAIL": Seen(100, 40), "CONTENT": Seen(7)}, {}),
        ({"MAIL": Seen(101, 41), "CONTENT": Seen(7), "MAIL-1": Seen(0)}, {}),
        ({"MAIL": Seen(100), "CONTENT": Seen(7)}, {}),
        ({"MAIL": Seen(100, 40)}, {"CONTENT": "is not there any more"}),
        ({"MAIL": Seen(99, 40), "CONTENT": Seen(7)}, {"MAIL": "ends at 99, and it had 100 already"}),
        ({"MAIL": Seen(0, 0), "CONTENT": Seen(7)}, {"MAIL": "ends at 0, and it had 100 already"}),
        (
            {"MAIL": Seen(100, 39), "CONTENT": Seen(7)},
            {"MAIL": "has 39 entries, and it had 40 when it was stopped"},
        ),
        ({}, {"MAIL": "is not there any more", "CONTENT": "is not there any more"}),
    ],
)
def test_a_stream_is_back_with_all_that_it_had(found: dict[str, Seen], missing: dict[str, str]) -> None:
    assert not_back(KNOWN, found) == missing


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 3)), min_size=1))
def test_what_is_remembered_never_exceeds_what_was_told_one_look_before(looks: list[dict[str, int]]) -> None:
    """So a power cut that takes what was not on disk yet is never held against the server."""
    before: dict[str, Seen] = {}
    for look in looks:
        now = {name: Seen(last) for name, last in look.items()}
        kept = settled(before, now)
        assert kept.keys() == now.keys()
        assert all(seen.last <= before.get(name, Seen(0)).last for name, seen in kept.items())
        assert not_back(kept, now) == {}
        before = now
