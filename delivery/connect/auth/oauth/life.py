"""The life of an access token, and the pauses between requests for one. Pure. Times are on one clock, in seconds."""

from typing import NamedTuple

RENEWED_AT = 0.75
"""Of the life of a token."""
JITTER = 0.1
"""Processes that began together renew up to so much of the life earlier, and ask again so much of the pause earlier."""
_LAST_PART = 0.05
"""Of the life, at most `_LAST_S`: a token that ends while it is on its way is not used."""
_LAST_S = 60.0
_LEAST_LIFE_S = 1.0
"""An issuer whose tokens end at once is asked no more often than that."""
_FIRST_PAUSE_S = 5.0
_MOST_DOUBLINGS = 30
_MOST_RETRY_AFTER_S = 3600.0


class AccessToken(NamedTuple):
    """A token that lives."""

    text: str
    number: int
    """Later ones have a higher one."""
    renewed_from: float
    ends: float

    def __repr__(self) -> str:
        return f"AccessToken(number={self.number}, ends={self.ends})"


def issued(text: str, life_s: float, number: int, now: float, draw: float) -> AccessToken:
    """A token that was issued at `now` for `life_s`. `draw` is a random number from 0 up to 1."""
    life_s = max(life_s, _LEAST_LIFE_S)
    return AccessToken(
        text,
        number,
        renewed_from=now + life_s * (RENEWED_AT - JITTER * draw),
        ends=now + life_s - min(life_s * _LAST_PART, _LAST_S),
    )


def pause_s(failures: int, most_s: float, draw: float, *, refused: bool, retry_after_s: float = 0) -> float:
    """How long the issuer is not asked after so many `failures` in a row.

    It grows from 5 seconds to `most_s`, which counts at once when the issuer has `refused` the credentials. It is not
    shorter than `retry_after_s`, which the issuer wants; no issuer may want more than an hour.
    """
    usual = most_s if refused else min(_FIRST_PAUSE_S * 2 ** min(failures - 1, _MOST_DOUBLINGS), most_s)
    return max(usual * (1 - JITTER * draw), min(retry_after_s, _MOST_RETRY_AFTER_S))
