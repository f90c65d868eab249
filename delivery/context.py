"""What delivery touches, in one place."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from delivery.attempt.routed import Router
from delivery.config import Delivery
from delivery.connect.pool import Pool
from delivery.shaping.throttles import Pause
from jetpost.dns.resolver import Resolver
from jetpost.events.publish import Events
from jetpost.queue.queue import Queue

_SPREAD = 0.1


@dataclass(frozen=True)
class DeliveryContext:
    """The edges of delivery, made once."""

    config: Delivery
    hostname: str
    queue: Queue
    resolver: Resolver
    pool: Pool
    events: Events
    now: Callable[[], datetime]
    may_expire: Callable[[], bool]
    """Whether `now` can be trusted so far that mail may be given up for its age."""
    monotonic: Callable[[], float]
    draw: Callable[[], float]
    router: Router | None = None
    """None: no routes are configured."""

    def ends(self, pause: Pause) -> datetime:
        """When what waits for the end of a pause is to come back: a little later, and not all at the same moment."""
        left_s = max(pause.until - self.monotonic(), 0)
        return self.now() + timedelta(seconds=left_s * (1 + _SPREAD * self.draw()))
