"""The configured routes at work: which one a message takes, and whether the hosts of a route answer."""

from collections.abc import Sequence

from prometheus_client import Counter

from delivery.route.rules import Rule, Table, facts_of
from delivery.shaping.adapt import DomainHealth, Observation, adapt
from delivery.shaping.limits import LaneSettings
from delivery.shaping.permits import Permits
from jetpost.queue.model.entry import Entry
from jetpost.telemetry.log import logger

SUSPENSIONS = Counter(
    "jetpost_delivery_route_suspensions_total",
    "Suspensions of a route because no host answered. Labels: `route` is its name, or the name and `/fallback`.",
    ["route"],
)
_MOST = 10_000
"""Hosts of named routes are few. Those of `kind: mx` are remembered by recipient domain, the oldest forgotten first."""

log = logger(__name__)

Hosts = tuple[str, str]
"""The name of a route, and the recipient domain where its hosts depend on it."""


class Routes:
    """The table of a process, and what it knows of the hosts. Times are of the process's monotonic clock, seconds."""

    def __init__(self, rules: Sequence[Rule], settings: LaneSettings) -> None:
        self._table = Table(rules)
        self._settings = settings
        self._health: dict[Hosts, DomainHealth] = {}
        self._permits = {
            rule.name: Permits(rule.connections, settings.waiting_per_domain) for rule in rules if rule.connections
        }

    @property
    def have_limits(self) -> bool:
        """Whether any route has a limit of its own."""
        return bool(self._permits)

    def permits(self, entry: Entry) -> Permits | None:
        """Those of the route that `entry` takes; None when it has no limit."""
        rule = self.rule(entry)
        return self._permits.get(rule.name) if rule is not None else None

    def rule(self, entry: Entry) -> Rule | None:
        """The route that `entry` takes; None: to the MX hosts of its domain, like all mail without routes."""
        return self._table.first(facts_of(entry))

    def suspended(self, hosts: Hosts, now: float) -> str | None:
        """Why the route is not tried now; None when it is."""
        health = self._health.get(hosts)
        return health.why or "no answer" if health is not None and health.is_suspended(now) else None

    def learn(self, hosts: Hosts, observed: Observation, now: float) -> None:
        """Apply what an attempt says about the hosts. Only those in trouble are remembered."""
        was = self._health.pop(hosts, None) or DomainHealth.unknown(self._settings)
        health = adapt(was, observed, now, self._settings)
        if health.failures:
            self._health[hosts] = health
            if len(self._health) > _MOST:
                del self._health[next(iter(self._health))]
        if health.suspended_until > was.suspended_until and health.failures:
            SUSPENSIONS.labels(hosts[0]).inc()
            log.warning("route suspended", route=hosts[0], domain=hosts[1], why=health.why, limited_by=hosts)
