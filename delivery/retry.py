"""When a deferred message is tried again."""

from datetime import timedelta
from typing import Annotated, Self

from pydantic import Field, model_validator

from jetpost.config.section import Section


class RetryPolicy(Section):
    """How long a deferred message waits (RFC 5321, 4.5.4.1). How long it is tried at all is `queue.lifetime_s`."""

    first_s: Annotated[float, Field(gt=0)] = 300
    """Wait after the first failed attempt: long enough for most greylisting, short enough for who waits for a reply."""
    cap_s: Annotated[float, Field(gt=0)] = 4 * 3600
    """The wait doubles after each further failure up to this."""
    spread: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Each wait is drawn from ± this fraction, so that what failed together does not come back together."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.cap_s < self.first_s:
            raise ValueError("cap_s must not be less than first_s")
        return self


def backoff(attempts: int, policy: RetryPolicy, *, jitter: float) -> timedelta:
    """Wait after the `attempts`-th failed attempt, counted from 1: doubles from `first_s` to `cap_s`, ± `spread`.

    `jitter` is drawn by the caller from [0, 1): same arguments, same wait. RFC 5321, 4.5.4.1 asks for 30 minutes or
    more once the first tries have failed.
    """
    doublings = min(attempts - 1, 30)
    seconds = min(policy.first_s * (1 << doublings), policy.cap_s)
    return timedelta(seconds=seconds * (1 + policy.spread * (2 * jitter - 1)))
