"""How many attempts of a route may be under way in a process, over all domains. Pure."""

import math
from collections.abc import Callable
from typing import NamedTuple

from jetpost.queue.model.entry import DomainToken, Entry


class Permits:
    """Those of one route: how many are in use, and which domains wait for one."""

    def __init__(self, most: float, most_waiting: int, usual: int) -> None:
        """`most` is the limit of the route, or infinite; `usual` is how many a process has at all."""
        self._most = most
        self._most_waiting = most_waiting
        self._usual = usual
        self.allowed = most
        """How many there are now: fewer than `most` after a host of the route has throttled it."""
        self.used = 0
        """Attempts under way."""
        self.held = 0
        """Entries in memory: those that are attempted, and those that wait."""
        self.waiting: dict[DomainToken, None] = {}
        """Domains whose next entry waits for a permit, longest first."""

    @property
    def free(self) -> float:
        """How many more attempts may begin; less than 1: none."""
        return self.allowed - self.used

    @property
    def is_free(self) -> bool:
        """Whether one more attempt may begin."""
        return self.used < self.allowed

    @property
    def is_congested(self) -> bool:
        """Whether no more entries are to wait in memory: other mail needs room there, too."""
        return self.held >= self.allowed + self._most_waiting

    def halve(self) -> None:
        """A host says that it is sent too much: half as many attempts at a time as are under way."""
        self.allowed = max(min(self.allowed, self.used) // 2, 1)

    def grow(self) -> None:
        """A host took a message: one more attempt at a time, up to the limit."""
        if self.allowed < self._most:
            self.allowed += 1
            if self.allowed >= min(self._most, self._usual):
                self.allowed = self._most

    def longest_waiting(self) -> DomainToken | None:
        """The domain that has waited longest, which waits no more; None when none does."""
        domain_token = next(iter(self.waiting), None)
        if domain_token is not None:
            del self.waiting[domain_token]
        return domain_token


def permits(most: int | None, most_waiting: int, usual: int) -> Permits:
    """Those of a route with a limit, or without one."""
    return Permits(math.inf if most is None else most, most_waiting, usual)


class RouteLimits(NamedTuple):
    """What lanes ask about routes that have a limit."""

    permits: Callable[[Entry], Permits | None]
    """Those of the route that an entry takes; None: it has no limit."""
    postponed: Callable[[Entry, Permits], Entry | None]
    """The successor of an entry that cannot wait in memory, as its route is congested, or all hosts of it throttle it.
    None: it can, or must, as its time is up."""
