"""A lane: what a process has of one domain."""

import asyncio
from collections import deque

from delivery.shaping.adapt import DomainHealth
from delivery.shaping.limits import LaneSettings
from jetpost.queue.claims.claim import Claim
from jetpost.queue.claims.consume import Consumer
from jetpost.queue.model.entry import DomainToken


class Lane:
    """The claims of one domain in this process."""

    def __init__(self, domain_token: DomainToken, settings: LaneSettings) -> None:
        self.domain_token = domain_token
        self.waiting: deque[Claim] = deque()
        self.active: dict[Claim, asyncio.Task[None]] = {}
        self.health = DomainHealth.unknown(settings)
        self.parked: Consumer | None = None
        """The consumer that takes parked entries back, while there are any."""

    @property
    def has_room(self) -> bool:
        """Whether the domain may have one more attempt now."""
        return len(self.active) < self.health.allowed

    def forgettable(self, now: float) -> bool:
        """Whether nothing is lost when the lane is forgotten: no entries, and no trouble to remember."""
        empty = not self.waiting and not self.active and self.parked is None
        return empty and (self.health.failures == 0 or self.health.suspended_until < now)
