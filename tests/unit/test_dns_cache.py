from hypothesis import given
from hypothesis import strategies as st

from jetpost.dns.answer import NoData
from jetpost.dns.cache import Cache

ANSWER = NoData(60)


def test_an_answer_is_kept_until_its_time_is_up() -> None:
    cache = Cache(2)
    cache.put(("dest.test", 15), ANSWER, until=10)
    assert cache.get(("dest.test", 15), now=9.9) == ANSWER
    assert cache.get(("dest.test", 1), now=0) is None
    assert cache.get(("dest.test", 15), now=10) is None
    assert cache.get(("dest.test", 15), now=0) is None, "forgotten, not only hidden"


def test_a_newer_answer_takes_the_place_of_an_older_one() -> None:
    cache = Cache(1)
    cache.put(("dest.test", 15), ANSWER, until=10)
    cache.put(("dest.test", 15), NoData(1), until=20)
    assert cache.get(("dest.test", 15), now=15) == NoData(1)


def test_the_answer_not_asked_for_longest_goes_first() -> None:
    cache = Cache(2)
    cache.put(("a", 1), ANSWER, until=10)
    cache.put(("b", 1), ANSWER, until=10)
    cache.get(("a", 1), now=0)
    cache.put(("c", 1), ANSWER, until=10)
    assert [cache.get((name, 1), now=0) for name in "abc"] == [ANSWER, None, ANSWER]


@given(st.integers(0, 4), st.lists(st.sampled_from("abcdefgh")))
def test_it_never_keeps_more_than_its_size(size: int, names: list[str]) -> None:
    cache = Cache(size)
    for name in names:
        cache.put((name, 1), ANSWER, until=10)
    assert sum(cache.get((name, 1), now=0) is not None for name in "abcdefgh") <= size
