"""Lanes: one a domain, so that a dead or slow destination costs the others nothing.

A lane holds a bounded number of claims and works on a bounded number of them at a time. What comes beyond that is
parked in the queue, and taken back in order through a consumer of the lane's own.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator

from prometheus_client import Counter, Gauge

from delivery.lanes.exit import Exit
from delivery.lanes.lane import Lane
from delivery.shaping.adapt import DomainHealth, Observation, adapt
from delivery.shaping.limits import Admission, LaneSettings, Load, admit
from delivery.shaping.permits import Permits, RouteLimits
from jetpost.queue.claims.claim import Claim
from jetpost.queue.claims.consume import ByteBudget, Consumer
from jetpost.queue.model.entry import DomainToken, Entry
from jetpost.queue.model.names import label_of
from jetpost.queue.model.states import State
from jetpost.queue.queue import Queue
from jetpost.tasks import end, finish
from jetpost.telemetry.log import logger

LANES = Gauge("jetpost_delivery_lanes", "Domains that have entries in this process.")
WAITING = Gauge("jetpost_delivery_waiting", "Entries waiting in memory for a slot of their domain.")
ACTIVE = Gauge("jetpost_delivery_active", "Entries being attempted.")
PARKED = Counter("jetpost_delivery_parked_total", "Entries parked because their domain was congested.")
POSTPONED = Counter(
    "jetpost_delivery_postponed_total",
    "Entries moved to a later retry without an attempt, because their route is throttled or too many wait for it.",
)
SUSPENDED = Counter("jetpost_delivery_suspensions_total", "Suspensions of a domain because no host answered.")

log = logger(__name__)

Deliver = Callable[[Claim, DomainHealth], Awaitable[Observation | None]]
"""Attempts a claim and settles it; returns what that says about the domain, or None: nothing."""


class Lanes:
    """All lanes of a process. Tasks belong to the task group it is given."""

    def __init__(
        self,
        queue: Queue,
        settings: LaneSettings,
        deliver: Deliver,
        tasks: asyncio.TaskGroup,
        limits: RouteLimits | None = None,
        prepare: Callable[[Entry], None] | None = None,
    ) -> None:
        self._queue = queue
        self._prepare = prepare
        """Called for the first entry of a domain that waits for a connection of the process, or for its route."""
        self._limits = limits
        self._permits: dict[Claim, Permits] = {}
        """Of claims whose route has a limit."""
        self._settings = settings
        self._deliver = deliver
        self._tasks = tasks
        self._lanes: dict[DomainToken, Lane] = {}
        self._parked_budget = ByteBudget(settings.parked_bytes)
        self._held = 0
        self._active = 0
        self._next_in_turn: dict[DomainToken, Lane] = {}
        """Lanes with entries that wait for a connection of the process and not for their domain, longest first."""
        self._draining = False
        self._drains: set[asyncio.Task[None]] = set()
        self._leaving: set[asyncio.Task[None]] = set()
        self._exit = Exit(queue)

    @property
    def lanes(self) -> list[Lane]:
        """Every lane that exists now."""
        return list(self._lanes.values())

    async def offer(self, claim: Claim) -> None:
        """Take a claim into its domain's lane, or park it. Never raises but for cancellation."""
        try:
            self._offer(claim)
        except Exception as error:
            await self._exit.give_up(claim, error)

    def _offer(self, claim: Claim) -> None:
        lane = self._lane(claim.entry.domain_token)
        load = Load(len(lane.active), len(lane.waiting), lane.health.allowed, self._held)
        if claim.entry.state is State.READY and admit(load, self._settings) is Admission.PARK:
            self._leave(self._park(claim, lane))
            return
        if self._limits is not None and (permits := self._limits.permits(claim.entry)) is not None:
            if (later := self._limits.postponed(claim.entry, permits)) is not None:
                self._leave(self._postpone(claim, later))
                return
            self._permits[claim] = permits
            permits.held += 1
        self._accept(claim, lane)

    def drain_parked(self, domain_token: DomainToken) -> None:
        """Begin to take back the parked entries of a domain, unless that is being done."""
        lane = self._lane(domain_token)
        if lane.parked is not None or self._draining:
            return
        lane.parked = self._queue.consumer(
            State.PARKED,
            domain_token=domain_token,
            max_claims=max(self._settings.connections_per_domain * 2, 10),
            max_bytes=self._parked_budget,
        )
        task = self._tasks.create_task(self._drain(lane, lane.parked))
        self._drains.add(task)
        task.add_done_callback(self._drains.discard)

    async def close(self, patience_s: float) -> None:
        """NAK what has not begun, let what has finish within `patience_s`, then NAK the rest as well."""
        self._draining = True
        await end(list(self._drains))
        for lane in self.lanes:
            while lane.waiting:
                await self._exit.nak(lane.waiting.popleft())
        await self._exit.renew()
        await finish(self._leaving.union(*(lane.active.values() for lane in self.lanes)), patience_s)
        await self._exit.renew()

    def remove(self, claim: Claim) -> bool:
        """Take a waiting claim out of its lane; False when it is not waiting."""
        lane = self._lanes.get(claim.entry.domain_token)
        if lane is None or claim not in lane.waiting:
            return False
        lane.waiting.remove(claim)
        self._held -= 1
        WAITING.dec()
        if (permits := self._permits.pop(claim, None)) is not None:
            # Its lane, or another one, may have waited for what it does not need any more.
            permits.held -= 1
            if lane.waiting and lane.has_room:
                self._next_in_turn.setdefault(lane.domain_token, lane)
            self._wake(permits)
            for turn, waiting in self._turns():
                self._begin(waiting, turn)
        return True

    def sweep(self) -> None:
        """Forget the lanes that nothing keeps any more."""
        for lane in self.lanes:
            self._forget(lane)

    def _lane(self, domain_token: DomainToken) -> Lane:
        lane = self._lanes.get(domain_token)
        if lane is None:
            lane = self._lanes[domain_token] = Lane(domain_token, self._settings)
            LANES.inc()
        return lane

    def _accept(self, claim: Claim, lane: Lane) -> None:
        self._held += 1
        if lane.has_room and self._active < self._settings.connections and self._has_permit(claim):
            self._begin(claim, lane)
            return
        lane.waiting.append(claim)
        WAITING.inc()
        if lane.has_room:
            self._next_in_turn.setdefault(lane.domain_token, lane)
            if self._prepare is not None and len(lane.waiting) == 1:
                self._prepare(claim.entry)

    def _begin(self, claim: Claim, lane: Lane) -> None:
        self._took(claim, lane, self._tasks.create_task(self._work(claim, lane)))

    def _took(self, claim: Claim, lane: Lane, task: asyncio.Task[None]) -> None:
        lane.active[claim] = task
        self._active += 1
        ACTIVE.inc()
        if claim in self._permits:
            self._permits[claim].used += 1

    async def _work(self, claim: Claim, lane: Lane) -> None:
        """One slot of the lane: this claim, then whatever waits."""
        following: Claim | None = claim
        while following is not None:
            claim = following
            try:
                self._learn(lane, await self._deliver(claim, lane.health))
            except asyncio.CancelledError:
                await self._exit.nak(claim)
                self._end(claim, lane)
                raise
            except Exception as error:  # a bug must not take the other lanes along
                await self._exit.give_up(claim, error)
            following = self._next(claim, lane)

    def _learn(self, lane: Lane, observed: Observation | None) -> None:
        """Apply what an attempt says to what the lane knows by now: others may have ended since it began."""
        if observed is None:
            return
        was, lane.health = lane.health, adapt(lane.health, observed, time.monotonic(), self._settings)
        if lane.health.suspended_until > was.suspended_until:
            SUSPENDED.inc()
            log.warning("domain suspended", domain=label_of(lane.domain_token), why=lane.health.why)

    def _next(self, claim: Claim, lane: Lane) -> Claim | None:
        """An attempt has ended: begin what may begin now, in this task when it is for the same domain."""
        task = lane.active[claim]
        self._end(claim, lane)
        self._held -= 1
        if lane.waiting and lane.has_room:
            self._next_in_turn.setdefault(lane.domain_token, lane)
        following: Claim | None = None
        for turn, waiting in self._turns():
            if turn is lane and following is None:
                following = waiting
                self._took(waiting, lane, task)
            else:
                self._begin(waiting, turn)
        self._forget(lane)
        return following

    def _turns(self) -> Iterator[tuple[Lane, Claim]]:
        """The claims that are to begin now, one of each lane in turn. Each must have begun before the next is drawn."""
        while self._next_in_turn and self._active < self._settings.connections and not self._draining:
            lane = self._next_in_turn.pop(next(iter(self._next_in_turn)))
            if lane.waiting and lane.has_room:
                if not self._has_permit(lane.waiting[0]):
                    self._permits[lane.waiting[0]].waiting[lane.domain_token] = None
                    continue
                WAITING.dec()
                yield lane, lane.waiting.popleft()
            if lane.waiting and lane.has_room:
                self._next_in_turn[lane.domain_token] = lane

    def _end(self, claim: Claim, lane: Lane) -> None:
        del lane.active[claim]
        self._active -= 1
        ACTIVE.dec()
        if (permits := self._permits.pop(claim, None)) is not None:
            permits.used -= 1
            permits.held -= 1
            self._wake(permits)

    def _has_permit(self, claim: Claim) -> bool:
        """Whether the route of `claim` has no limit, or may have one more attempt."""
        permits = self._permits.get(claim) if self._permits else None
        return permits is None or permits.is_free

    def _wake(self, permits: Permits) -> None:
        """The lanes that have waited longest for a permit get their turn, as many as there are free ones."""
        free = permits.free
        while free >= 1 and (domain_token := permits.longest_waiting()) is not None:
            lane = self._lanes.get(domain_token)
            if lane is not None and lane.waiting and lane.has_room:
                self._next_in_turn.setdefault(lane.domain_token, lane)
                if self._permits.get(lane.waiting[0]) is permits:
                    free -= 1

    def _forget(self, lane: Lane) -> None:
        if lane.forgettable(time.monotonic()) and self._lanes.get(lane.domain_token) is lane:
            del self._lanes[lane.domain_token]
            self._next_in_turn.pop(lane.domain_token, None)
            LANES.dec()

    def _leave(self, leaving: Coroutine[None, None, None]) -> None:
        """Let a claim leave beside the others; `close` waits for it."""
        task = self._tasks.create_task(leaving)
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _park(self, claim: Claim, lane: Lane) -> None:
        if await self._exit.moved(claim, claim.entry.moved(State.PARKED)):
            PARKED.inc()
            self.drain_parked(lane.domain_token)

    async def _postpone(self, claim: Claim, later: Entry) -> None:
        if await self._exit.moved(claim, later):
            POSTPONED.inc()

    async def _drain(self, lane: Lane, consumer: Consumer) -> None:
        """Bring the lane's parked entries back in order until none is left."""
        try:
            await consumer.start()
            taking = asyncio.create_task(self._take(consumer))
            try:
                await consumer.exhausted()
                while not await consumer.ended():
                    await consumer.exhausted()
            finally:
                await end([taking])
        finally:
            lane.parked = None
            await self._queue.retire(consumer)
            self._forget(lane)

    async def _take(self, consumer: Consumer) -> None:
        async for claim in consumer:
            await self.offer(claim)
