"""How many attempts of a route may be under way in a process, over all domains. Pure."""

from collections.abc import Callable
from typing import NamedTuple

from jetpost.queue.model.entry import DomainToken, Entry


class Permits:
    """Those of one route: how many are in use, and which domains wait for one."""

    def __init__(self, most: int, most_waiting: int) -> None:
        self._most = most
        self._most_waiting = most_waiting
        self.used = 0
        """Attempts under way."""
        self.held = 0
        """Entries in memory: those that are attempted, and those that wait."""
        self.waiting: dict[DomainToken, None] = {}
        """Domains whose next entry waits for a permit, longest first."""

    @property
    def is_free(self) -> bool:
        """Whether one more attempt may begin."""
        return self.used < self._most

    @property
    def is_congested(self) -> bool:
        """Whether no more entries are to wait in memory: other mail needs room there, too."""
        return self.held >= self._most + self._most_waiting

    def longest_waiting(self) -> DomainToken | None:
        """The domain that has waited longest, which waits no more; None when none does."""
        domain_token = next(iter(self.waiting), None)
        if domain_token is not None:
            del self.waiting[domain_token]
        return domain_token


class RouteLimits(NamedTuple):
    """What lanes ask about routes that have a limit."""

    permits: Callable[[Entry], Permits | None]
    """Those of the route that an entry takes; None: it has no limit."""
    postponed: Callable[[Entry], Entry | None]
    """The successor of an entry that cannot wait in memory; None: it must, as its time is up."""
