"""When a token is renewed and when it ends, and how long an issuer is left alone."""

from hypothesis import given
from hypothesis import strategies as st

from delivery.connect.auth.oauth.life import issued, pause_s

DRAWS = st.floats(0, 1, exclude_max=True)


@given(life_s=st.floats(1, 86_400), now=st.floats(0, 1e7), draw=DRAWS)
def test_a_token_is_renewed_well_before_it_ends_and_ends_before_the_issuer_ends_it(
    life_s: float, now: float, draw: float
) -> None:
    token = issued("t", life_s, 1, now, draw)
    assert now + life_s * 0.649 <= token.renewed_from <= now + life_s * 0.751
    assert token.renewed_from < token.ends < now + life_s
    assert token.ends >= now + life_s - 60.001


@given(life_s=st.floats(0, 1, exclude_min=True), draw=DRAWS)
def test_a_token_that_ends_at_once_counts_for_a_second(life_s: float, draw: float) -> None:
    assert issued("t", life_s, 1, 0, draw) == issued("t", 1, 1, 0, draw)


def test_the_pause_doubles_up_to_the_most() -> None:
    assert [pause_s(n, 300, 0, refused=False) for n in range(1, 9)] == [5, 10, 20, 40, 80, 160, 300, 300]
    assert pause_s(1, 2, 0, refused=False) == 2
    assert pause_s(1, 300, 0, refused=True) == 300


def test_an_issuer_that_wants_a_longer_pause_has_it_up_to_an_hour() -> None:
    assert pause_s(1, 300, 0, refused=False, retry_after_s=60) == 60
    assert pause_s(5, 300, 0, refused=False, retry_after_s=60) == 80
    assert pause_s(1, 300, 0, refused=False, retry_after_s=10**9) == 3600


@given(failures=st.integers(1, 10**9), most_s=st.floats(0.001, 86_400), draw=DRAWS, refused=st.booleans())
def test_every_pause_is_within_bounds(failures: int, most_s: float, draw: float, *, refused: bool) -> None:
    pause = pause_s(failures, most_s, draw, refused=refused)
    assert min(5, most_s) * 0.89 < pause <= most_s


def test_no_token_is_shown_by_a_repr() -> None:
    assert "s3cret" not in repr(issued("s3cret", 5, 1, 0, 0))
