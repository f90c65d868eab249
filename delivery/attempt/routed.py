"""One attempt by a route: its hosts, and those of its fallback while none of them can be reached."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from prometheus_client import Counter

from delivery.attempt.attempt import Attempt, attempt
from delivery.attempt.config import AttemptSettings
from delivery.attempt.scan import Chunks
from delivery.classify.phases import Phase
from delivery.connect.pool import Pool
from delivery.route.actions.kinds import Discard, Fail, ToMx
from delivery.route.endpoint import ConnectionTerms
from delivery.route.mx import Route
from delivery.route.plan import Routing, plan, plan_hosts
from delivery.route.routes import Routes
from delivery.route.rules import Fallback, Rule
from delivery.shaping.adapt import Missed, Reached
from delivery.shaping.throttles import Pause, RouteHost, why_paused
from jetpost.dns.resolver import Resolver
from jetpost.mail.outcome import Bounced, Deferred, Delivered, Discarded, Outcome
from jetpost.mail.reply import EnhancedStatus
from jetpost.queue.model.entry import Entry
from jetpost.telemetry.log import logger

ROUTED = Counter(
    "jetpost_delivery_routed_total",
    "Entries attempted by a configured route. Labels: `route` is its name, or the name and `/fallback`; `result` is "
    "reached, unreachable, suspended, throttled, no_host (none has an address), discarded or failed.",
    ["route", "result"],
)
_NO_ANSWER = EnhancedStatus(4, 4, 1)
_NOT_REACHED = frozenset({Phase.CONNECT, Phase.GREETING, Phase.EHLO})
"""What leads to the fallback. TLS or credentials that fail do not: mail would take a way with other protection."""

log = logger(__name__)


class Routed(NamedTuple):
    """What came of an attempt by a route."""

    result: Attempt | Outcome | Pause
    """An outcome is the same for all recipients; a pause: nothing was attempted."""
    reached: bool
    """Whether a host answered."""
    pause: Pause | None = None
    """Set where recipients are deferred only because hosts of the route are throttled: when they can be tried again."""
    route: str = ""
    """The name of the route, or the name and `/fallback`."""


@dataclass(frozen=True)
class Router:
    """What attempts by a route need."""

    routes: Routes
    resolver: Resolver
    pool: Pool
    routing: Routing
    settings: AttemptSettings
    hostname: str
    monotonic: Callable[[], float]
    draw: Callable[[], float]

    def mx_terms(self, action: ToMx) -> tuple[Routing, ConnectionTerms]:
        """How MX hosts are looked up and connected to under this action."""
        port = action.port or self.routing.port
        routing = self.routing if port == self.routing.port else self.routing.model_copy(update={"port": port})
        return routing, action.terms(self.settings.terms)

    async def attempt(self, entry: Entry, rule: Rule, chunks: Chunks) -> Routed:
        """Try `entry` once by its route."""
        match rule.action:
            case Discard():
                ROUTED.labels(rule.name, "discarded").inc()
                return Routed(Discarded(f"discarded by route {rule.name}"), reached=False, route=rule.name)
            case Fail(status=status, text=text):
                ROUTED.labels(rule.name, "failed").inc()
                bounced = EnhancedStatus.parse(status) or EnhancedStatus(5, 7, 1)
                return Routed(Bounced(bounced, text), reached=False, route=rule.name)
            case action:
                pass
        loop = asyncio.get_running_loop()
        now, attempt_s = loop.time(), self.settings.timeouts.attempt_s
        if rule.fallback is None:
            return await self._by(entry, rule.name, action, chunks, now + attempt_s)
        # Hosts that are silent take all the time they have: half of it is for the fallback.
        tried, until = await self._by(entry, rule.name, action, chunks, now + attempt_s / 2), now + attempt_s
        if not leaves_room_for_fallback(tried.result) or loop.time() >= until:
            return tried
        domain = entry.domain if isinstance(action, ToMx) else ""
        log.warning("route uses its fallback", route=rule.name, why=_why(tried.result), limited_by=(rule.name, domain))
        return await self._by(entry, f"{rule.name}/fallback", rule.fallback, chunks, until)

    async def _by(self, entry: Entry, name: str, action: Fallback, chunks: Chunks, until: float) -> Routed:
        return (await self._tried(entry, name, action, chunks, until))._replace(route=name)

    async def _tried(self, entry: Entry, name: str, action: Fallback, chunks: Chunks, until: float) -> Routed:
        hosts = (name, entry.domain if isinstance(action, ToMx) else "")
        began = self.monotonic()
        if (why := self.routes.suspended(hosts, began)) is not None:
            ROUTED.labels(name, "suspended").inc()
            return Routed(Deferred(_NO_ANSWER, f"not tried: no host of route {name} answers ({why})"), reached=False)
        route = await self._planned(entry, name, action)
        if not isinstance(route, Route):
            ROUTED.labels(name, "no_host").inc()
            return Routed(route, reached=False)
        hosts_of_route = {host: RouteHost(*hosts, host.name, host.port) for host in route.hosts}
        began = self.monotonic()
        if (pause := self.routes.pause(list(hosts_of_route.values()), began)) is not None:
            ROUTED.labels(name, "throttled").inc()
            return Routed(pause, reached=False)
        open_hosts = tuple(it for it in route.hosts if self.routes.pause([hosts_of_route[it]], began) is None)
        made = await attempt(
            entry,
            route._replace(hosts=open_hosts),
            chunks,
            self.pool,
            self.settings,
            until=until,
            obeys=True,
            left_out=len(open_hosts) < len(route.hosts),
        )
        ROUTED.labels(name, "unreachable" if made.unreachable else "reached").inc()
        _tell_failed_hosts(name, route, made)
        self._learn(hosts, made, began)
        waits = made.waits_for_hosts or (made.unreachable and len(open_hosts) < len(hosts_of_route))
        pause = self._next(list(hosts_of_route.values())) if waits else None
        return Routed(made, reached=not made.unreachable, pause=pause)

    def _learn(self, hosts: tuple[str, str], made: Attempt, began: float) -> None:
        """Apply what an attempt that began at `began` says about the hosts of a route."""
        if not made.unreachable:
            self.routes.learn(hosts, Reached(), self.monotonic())
        elif could_not_be_reached(made) and not made.throttles:
            self.routes.learn(hosts, Missed(began, why_of(made)), self.monotonic())
        for (name, port), throttle in made.throttles.items():
            host = RouteHost(*hosts, name, port)
            if throttle is None:
                self.routes.accepted(host, began)
            elif made.unreachable or not throttle.early:
                # What a host said before MAIL is a matter of this host while another one answers.
                self.routes.throttled(host, throttle.why, began, early=throttle.early, jitter=self.draw())

    def _next(self, hosts_of_route: Sequence[RouteHost]) -> Pause:
        """When a route whose hosts are throttled can be tried again: at once while one of them is not paused."""
        now = self.monotonic()
        return self.routes.pause(hosts_of_route, now) or Pause(now, now, 0, "", early=False)

    async def _planned(self, entry: Entry, name: str, action: Fallback) -> Route | Deferred | Bounced:
        if isinstance(action, ToMx):
            routing, terms = self.mx_terms(action)
            return await plan(entry.domain, self.resolver, routing, terms, own=self.hostname, draw=self.draw)
        source = self.settings.terms.source
        return await plan_hosts(name, action, self.resolver, self.routing, source=source, draw=self.draw)


def _tell_failed_hosts(name: str, route: Route, made: Attempt) -> None:
    """A line for each host that failed where the route has another one."""
    failed = {(host.name, host.port): why for host, why in route.unusable} | made.failed
    if not failed or len(route.hosts) + len(route.unusable) == 1:
        return
    answered = any(isinstance(it, Delivered) for it in made.outcomes.values())
    if answered:
        failed.pop((made.host, made.port), None)  # at one of its addresses only
    for (host, port), why in failed.items():
        log.warning(
            "host of route failed",
            route=name,
            host=host,
            port=port,
            why=why,
            next_host=f"{made.host}:{made.port}" if answered else "",
            limited_by=(name, host, str(port)),
        )


def leaves_room_for_fallback(result: Attempt | Outcome | Pause) -> bool:
    """Whether no host could be reached, so that another way may be tried at once."""
    if isinstance(result, Attempt):
        return could_not_be_reached(result)
    if isinstance(result, Pause):
        return result.early
    return isinstance(result, Deferred)


def could_not_be_reached(made: Attempt) -> bool:
    """Whether no host answered, and neither TLS, credentials nor a want of files was the reason."""
    return made.unreachable and not made.starved and made.refused_in <= _NOT_REACHED


def _why(result: Attempt | Outcome | Pause) -> str:
    """Why the fallback is used."""
    match result:
        case Attempt():
            return why_of(result)
        case Pause():
            return why_paused(result)
        case Deferred(why=why):
            return why
        case _:
            return ""


def why_of(made: Attempt) -> str:
    """What the last attempt that reached no host met, in words."""
    return next((outcome.why for outcome in made.outcomes.values() if isinstance(outcome, Deferred)), "")
