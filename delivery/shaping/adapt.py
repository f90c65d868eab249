"""What attempts say about a domain, and what follows: how many at a time, and whether to leave it alone. Pure.

Many attempts at a domain run at once, and each ends with an observation. Whoever owns the state applies it to the state
as it is then: what an attempt saw when it began says nothing about what others have found out meanwhile.
"""

from typing import NamedTuple, assert_never

from delivery.shaping.limits import LaneSettings


class Reached(NamedTuple):
    """A host of the domain answered."""


class Missed(NamedTuple):
    """No host of the domain could be reached."""

    began: float
    """When the attempt began, on the process's monotonic clock, seconds."""
    why: str
    """What the last host said, or what happened to the connection."""


Observation = Reached | Missed
"""What an attempt says about a domain. An attempt that never got as far as a host says nothing."""


class DomainHealth(NamedTuple):
    """What a process knows of a domain's hosts."""

    allowed: int
    """Attempts at a time."""
    failures: int = 0
    """Attempts in a row that reached no host."""
    suspended_at: float = float("-inf")
    """When it was last found to be unreachable, on the process's monotonic clock, seconds."""
    suspended_until: float = float("-inf")
    """Until then entries are deferred without an attempt."""
    why: str = ""
    """What the last attempt that reached no host said."""

    @classmethod
    def unknown(cls, settings: LaneSettings) -> "DomainHealth":
        """A domain we know nothing of."""
        return cls(min(settings.first_connections, settings.connections_per_domain))

    def is_suspended(self, now: float) -> bool:
        """Whether entries are to be deferred without an attempt."""
        return now < self.suspended_until


def adapt(health: DomainHealth, observed: Observation, now: float, settings: LaneSettings) -> DomainHealth:
    """The state after an observation.

    A host that answers allows one more attempt at a time, up to the limit, and ends a suspension. Without an answer
    there is one less; after `failures_to_suspend` in a row the domain is suspended, and then one attempt probes it. An
    attempt that was under way when the domain was suspended says nothing new, and prolongs nothing.
    """
    match observed:
        case Reached():
            return DomainHealth(min(health.allowed + 1, settings.connections_per_domain))
        case Missed(began, why):
            if began < health.suspended_at:
                return health
            failures = health.failures + 1
            if failures < settings.failures_to_suspend:
                return health._replace(allowed=max(health.allowed - 1, 1), failures=failures, why=why)
            return DomainHealth(1, failures, now, now + settings.suspend_s, why)
        case unknown:
            assert_never(unknown)
