"""The configured routes at work: which one a message takes, and whether the hosts of a route answer."""

from collections.abc import Callable, Sequence
from functools import partial

from prometheus_client import Counter, Gauge

from delivery.route.actions.kinds import ToHosts, ToLmtp
from delivery.route.plan import route_hosts
from delivery.route.rules import Rule, Table, facts_of
from delivery.shaping.adapt import DomainHealth, Observation, adapt
from delivery.shaping.limits import LaneSettings
from delivery.shaping.permits import Permits, permits
from delivery.shaping.throttles import Backoff, Pause, RouteHost, Throttles
from jetpost.queue.model.entry import Entry
from jetpost.telemetry.log import logger

SUSPENSIONS = Counter(
    "jetpost_delivery_route_suspensions_total",
    "Suspensions of a route because no host answered. Labels: `route` is its name, or the name and `/fallback`.",
    ["route"],
)
THROTTLED = Counter(
    "jetpost_delivery_route_pauses_total",
    "Pauses of a host of a route because it said that it is sent too much. Labels: `route` is its name, or the name "
    "and `/fallback`.",
    ["route"],
)
IS_THROTTLED = Gauge(
    "jetpost_delivery_route_throttled",
    "1 while every host of a route is paused, or was lately and has accepted nothing since, else 0. Labels: `route` as "
    "above; routes of `kind: mx` have no value.",
    ["route"],
)
_MOST = 10_000
"""Hosts of named routes are few. Those of `kind: mx` are remembered by recipient domain, the oldest forgotten first."""

log = logger(__name__)

Hosts = tuple[str, str]
"""The name of a route, and the recipient domain where its hosts depend on it."""


class Routes:
    """The table of a process, and what it knows of the hosts. Times are of the process's monotonic clock, seconds."""

    def __init__(
        self, rules: Sequence[Rule], settings: LaneSettings, backoff: Backoff, monotonic: Callable[[], float]
    ) -> None:
        self._table = Table(rules)
        self._settings = settings
        self._monotonic = monotonic
        self._health: dict[Hosts, DomainHealth] = {}
        self._throttles = Throttles(backoff, _MOST)
        self._permits = {
            rule.name: permits(rule.connections, settings.waiting_per_domain, settings.connections)
            for rule in rules
            if rule.connections or isinstance(rule.action, ToHosts | ToLmtp)
        }
        self._hosts: dict[str, tuple[RouteHost, ...]] = {}
        """Those that the configuration names, by route."""
        for rule in rules:
            for name, action in ((rule.name, rule.action), (f"{rule.name}/fallback", rule.fallback)):
                if isinstance(action, ToHosts | ToLmtp):
                    self._hosts[name] = route_hosts(name, action)
                    IS_THROTTLED.labels(name).set_function(partial(self._is_slow, self._hosts[name]))

    @property
    def have_limits(self) -> bool:
        """Whether any route has a limit of its own, or may get one from its hosts."""
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

    def pause_of(self, entry: Entry) -> Pause | None:
        """Why an entry is to wait without an attempt: all hosts of its route throttle it. None: it may be attempted."""
        rule = self.rule(entry) if self._throttles.are_known else None
        if rule is None:
            return None
        pause = self.pause(self._hosts.get(rule.name, ()), self._monotonic())
        return None if pause is not None and pause.early and rule.fallback is not None else pause

    def pause(self, hosts: Sequence[RouteHost], now: float) -> Pause | None:
        """The pause of these hosts; None while one of them can be tried."""
        return self._throttles.pause(hosts, now)

    def throttled(self, host: RouteHost, why: str, began: float, *, early: bool, jitter: float) -> None:
        """A host said to an attempt that began at `began` that it is sent too much."""
        now = self._monotonic()
        pause = self._throttles.throttled(host, began, now, why, early=early, jitter=jitter)
        if pause is None:
            return
        if (mine := self._permits_of(host)) is not None:
            mine.halve()
        THROTTLED.labels(host.route).inc()
        log.warning(
            "route throttled",
            route=host.route,
            host=host.host,
            pause_s=round(pause.until - now, 3),
            in_a_row=pause.in_a_row,
            attempts_at_a_time=None if mine is None else mine.allowed,
            why=why,
            limited_by=host,
        )

    def accepted(self, host: RouteHost, began: float) -> None:
        """A host set no limit to an attempt that began at `began`."""
        if self._throttles.accepted(host, began):
            log.info("route no longer throttled", route=host.route, host=host.host, limited_by=host)
        if (mine := self._permits_of(host)) is not None:
            mine.grow()

    def _permits_of(self, host: RouteHost) -> Permits | None:
        """Those that a host's words concern: hosts of one domain say nothing about the route."""
        return None if host.domain else self._permits.get(host.route.partition("/")[0])

    def _is_slow(self, hosts: Sequence[RouteHost]) -> float:
        return float(self._throttles.is_slow(hosts, self._monotonic()))
