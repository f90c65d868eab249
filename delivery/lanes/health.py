"""What a site's latest attempts say about it: how many at a time, and whether to leave it alone. Pure."""

from typing import NamedTuple

from delivery.lanes.limits import LaneSettings


class Health(NamedTuple):
    """What a lane knows of its site."""

    allowed: int
    """Attempts at a time."""
    failures: int = 0
    """Attempts in a row that reached no host."""
    suspended_until: float = 0.0
    """On the process's monotonic clock, seconds."""
    why: str = ""
    """What the last attempt that reached no host said."""

    @classmethod
    def fresh(cls, settings: LaneSettings) -> "Health":
        """A site we know nothing of."""
        return cls(min(settings.first_connections, settings.connections_per_site))

    def reached(self, settings: LaneSettings) -> "Health":
        """A host of the site answered: one more attempt at a time, up to the limit."""
        return Health(min(self.allowed + 1, settings.connections_per_site))

    def missed(self, why: str, now: float, settings: LaneSettings) -> "Health":
        """No host of the site could be reached. After enough of these it is left alone; then one attempt probes it."""
        failures = self.failures + 1
        if failures < settings.failures_to_suspend:
            return Health(max(self.allowed - 1, 1), failures, self.suspended_until, why)
        return Health(1, failures, now + settings.suspend_s, why)

    def suspended(self, now: float) -> bool:
        """Whether entries are to be deferred without an attempt."""
        return now < self.suspended_until
