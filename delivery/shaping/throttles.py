"""Hosts that throttle us, and for how long each is left alone. Pure: times are of one steady clock, seconds."""

from collections.abc import Sequence
from typing import Annotated, NamedTuple, Self

from pydantic import Field, model_validator

from jetpost.config.section import Section


class Backoff(Section):
    """How long a host of a route is left alone that says it is sent too much."""

    first_s: Annotated[float, Field(gt=0, le=86400)] = 30
    """The first pause. Each further one in a row is twice as long; an accepted message ends the row."""
    cap_s: Annotated[float, Field(gt=0, le=86400)] = 900
    """The longest pause."""
    spread: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Each pause is drawn from ± this fraction, so that processes do not come back together."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.cap_s < self.first_s:
            raise ValueError("cap_s must not be less than first_s")
        return self


class RouteHost(NamedTuple):
    """A host of a route."""

    route: str
    """The name of the route, or the name and `/fallback`."""
    domain: str
    """The recipient domain where the hosts of the route depend on it, else empty."""
    host: str
    port: int


class Pause(NamedTuple):
    """How long a host is left alone, and why."""

    at: float
    """When it began: what was under way then prolongs nothing, and ends nothing."""
    until: float
    in_a_row: int
    """How many there were since the host last accepted a message."""
    why: str
    """What the host said."""
    early: bool
    """Whether the host said it before MAIL and AUTH: it was not to be had at all."""


class Throttles:
    """The pauses of a process: at most `most` hosts are remembered, the oldest forgotten first."""

    def __init__(self, settings: Backoff, most: int) -> None:
        self._settings = settings
        self._most = most
        self._pauses: dict[RouteHost, Pause] = {}

    @property
    def are_known(self) -> bool:
        """Whether any host was throttled and has accepted nothing since."""
        return bool(self._pauses)

    def throttled(
        self, host: RouteHost, began: float, now: float, why: str, *, early: bool, jitter: float
    ) -> Pause | None:
        """An attempt that began at `began` was told so at `host`. The pause that follows; None: nothing new.

        `jitter` is drawn by the caller from [0, 1).
        """
        was = self._pauses.get(host)
        if was is not None and began < was.at:
            return None
        settings = self._settings
        in_a_row = was.in_a_row + 1 if was is not None and self._counts(was, now) else 1
        seconds = min(settings.first_s * 2 ** min(in_a_row - 1, 30), settings.cap_s)
        seconds *= 1 + settings.spread * (2 * jitter - 1)
        pause = Pause(now, now + seconds, in_a_row, why, early)
        self._pauses.pop(host, None)
        self._pauses[host] = pause
        if len(self._pauses) > self._most:
            del self._pauses[next(iter(self._pauses))]
        return pause

    def accepted(self, host: RouteHost, began: float) -> bool:
        """An attempt that began at `began` met no limit at `host`. Whether that ends its pauses."""
        was = self._pauses.get(host)
        if was is None or began < was.at:
            return False
        del self._pauses[host]
        return True

    def pause(self, hosts_of_route: Sequence[RouteHost], now: float) -> Pause | None:
        """The pause of a route with these hosts: the one that ends first; None while one of them can be tried."""
        pauses = [self._pauses.get(host) for host in hosts_of_route] if self._pauses else []
        found = [pause for pause in pauses if pause is not None and now < pause.until]
        return min(found, key=lambda it: it.until) if found and len(found) == len(hosts_of_route) else None

    def is_slow(self, hosts_of_route: Sequence[RouteHost], now: float) -> bool:
        """Whether each of the hosts is paused, or was lately and has accepted nothing since."""
        pauses = [self._pauses.get(host) for host in hosts_of_route]
        return bool(pauses) and all(pause is not None and self._counts(pause, now) for pause in pauses)

    def _counts(self, pause: Pause, now: float) -> bool:
        """Whether a pause has not been over for so long that it says nothing any more."""
        return now < pause.until + self._settings.cap_s


def why_paused(pause: Pause) -> str:
    """For people who ask why their message waits."""
    return f"not tried: its route is throttled ({pause.why})"
