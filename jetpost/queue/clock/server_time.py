"""Whether our clock can be trusted, by the servers' time. Pure.

Bounces for age, retries and stamps are decided by a clock. Each of the servers says what time it is; who is in the
middle is believed.
"""

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple


class Answer(NamedTuple):
    """What one server said, between two looks at our clock. All are seconds since 1970."""

    before: float
    server: float
    after: float

    @property
    def offset_s(self) -> float:
        """How far the server's clock is ahead of ours."""
        return self.server - (self.before + self.after) / 2

    @property
    def uncertainty_s(self) -> float:
        """By how much that may be wrong: the server looked at its clock somewhere between."""
        return abs(self.after - self.before) / 2


class Reading(NamedTuple):
    """What is known of the servers' time since a moment."""

    offset_s: float
    """How far it is ahead of our clock."""
    uncertainty_s: float
    wall: float
    """Our clock at that moment (seconds since 1970)."""
    monotonic: float
    """The clock that nobody sets, at that moment."""


def agreed(answers: Sequence[Answer]) -> tuple[float, float]:
    """How far the servers' time is ahead of our clock, and how uncertain that is; both in seconds.

    The median: of three servers one may be wrong. Of an even number our own clock has a vote as well, so that one wrong
    server and a right one do not make us wrong. One server alone is believed. ValueError without answers.
    """
    offsets = [answer.offset_s for answer in answers]
    own = [0.0] if len(offsets) % 2 == 0 and offsets else []
    return median([*offsets, *own]), max(answer.uncertainty_s for answer in answers)


def spread(answers: Sequence[Answer]) -> list[float]:
    """How far each server is ahead of what they agree on, less what is uncertain about that."""
    offset, uncertainty = agreed(answers)
    return [_beyond(answer.offset_s - offset, uncertainty) for answer in answers]


def ahead(reading: Reading, wall: float, monotonic: float) -> float:
    """How far our clock is ahead of the servers' time, as far as that is certain; negative: behind.

    A clock that was set since, or a machine that was suspended, shows in the difference between the two clocks.
    """
    stepped = (wall - reading.wall) - (monotonic - reading.monotonic)
    return _beyond(stepped - reading.offset_s, reading.uncertainty_s)


def is_sound(reading: Reading, wall: float, monotonic: float, tolerance_s: float) -> bool:
    """Whether there is no `doubt`, at the cost of a comparison: each message asks more than once."""
    stepped = (wall - reading.wall) - (monotonic - reading.monotonic)
    return abs(stepped - reading.offset_s) - reading.uncertainty_s <= tolerance_s


def doubt(reading: Reading | None, wall: float, monotonic: float, tolerance_s: float) -> str | None:
    """Why our clock cannot be trusted, or None."""
    if reading is None:
        return "the servers' time is not known yet, so our clock cannot be checked"
    if is_sound(reading, wall, monotonic, tolerance_s):
        return None
    seconds = ahead(reading, wall, monotonic)
    which = "ahead of" if seconds > 0 else "behind"
    return (
        f"our clock is {abs(seconds):.0f} s {which} the servers', more than queue.clock_tolerance_s ({tolerance_s:g} s)"
    )


def corrected(reading: Reading, monotonic: float) -> float:
    """The servers' time (seconds since 1970), whatever was done to our clock since the reading."""
    return reading.wall + reading.offset_s + (monotonic - reading.monotonic)


def _beyond(seconds: float, uncertainty_s: float) -> float:
    if seconds > 0:
        return max(seconds - uncertainty_s, 0.0)
    return min(seconds + uncertainty_s, 0.0)
