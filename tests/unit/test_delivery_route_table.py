"""The table asks few of many rules, and finds what asking each in turn would find."""

from hypothesis import given
from hypothesis import strategies as st

from delivery.route.rules import Facts, Rule, Table, checked

_NAMES = ("a.test", "b.a.test", "c.b.a.test", "test", "other.test")
_PATTERNS = st.sampled_from([*_NAMES, *(f"*.{name}" for name in _NAMES)])
_WORDS = st.sampled_from(["ann", "Ann", "bob", ""])
_MATCHES = st.fixed_dictionaries(
    {},
    optional={
        "recipients": st.lists(_PATTERNS, min_size=1, max_size=3),
        "senders": st.lists(st.one_of(_PATTERNS, st.just("<>")), min_size=1, max_size=3),
        "identities": st.lists(_WORDS.filter(bool), min_size=1, max_size=2),
        "listeners": st.lists(_WORDS.filter(bool), min_size=1, max_size=2),
        "min_bytes": st.sampled_from([0, 10]),
        "max_bytes": st.sampled_from([0, 20]),
    },
)
_DOMAINS = st.sampled_from([*_NAMES, "x.c.b.a.test", "[127.0.0.1]", "nowhere.test"])
_FACTS = st.builds(Facts, _DOMAINS, st.one_of(_DOMAINS, st.just("")), _WORDS, _WORDS, st.sampled_from([0, 10, 20, 30]))


def rules(matches: list[dict[str, object]]) -> list[Rule]:
    """Rules with these matches."""
    action = {"kind": "discard"}
    return [
        Rule.model_validate({"name": f"r{number}", "match": match, "action": action})
        for number, match in enumerate(matches)
    ]


@given(st.lists(_MATCHES, max_size=8), _FACTS)
def test_the_first_rule_that_matches_is_found(matches: list[dict[str, object]], facts: Facts) -> None:
    ordered = rules(matches)

    one_by_one = next((rule for rule in ordered if Table([rule]).first(facts) is not None), None)

    assert Table(ordered).first(facts) is one_by_one


def test_of_a_thousand_rules_those_are_asked_that_may_match() -> None:
    made: list[dict[str, object]] = []
    made += [{"recipients": [f"d{number}.test", f"*.d{number}.test"]} for number in range(400)]
    made += [{"senders": [f"d{number}.test"]} for number in range(300)]
    made += [{"identities": [f"u{number}"], "min_bytes": 1} for number in range(299)]
    made += [{"listeners": ["relay"]}]
    table = Table(checked(tuple(rules(made))))

    assert table.candidates(Facts("none.test", "none.test", "none", "none", 0)) == [999]
    assert table.candidates(Facts("x.d7.test", "d8.test", "u9", "none", 0)) == [7, 408, 709, 999]
