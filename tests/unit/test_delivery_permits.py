"""Routes with a limit: never more attempts at a time, and no entry waits for ever, whatever ends or is taken away."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import cast

from hypothesis import example, given
from hypothesis import strategies as st

from delivery.lanes.lanes import Lanes
from delivery.shaping.adapt import DomainHealth, Observation, Reached
from delivery.shaping.limits import LaneSettings
from delivery.shaping.permits import RouteLimits
from delivery.shaping.permits import permits as permits_of
from jetpost.mail.content import Inline
from jetpost.queue.claims.claim import Claim
from jetpost.queue.model.entry import Entry, QueueId, token_of
from jetpost.queue.queue import Queue
from tests.fixtures import attempts

ROUTES = {"one": 1, "two": 2, "wide": 0, "": 0}
"""Limits. `wide` has one only while it is throttled; the route without a name never has."""


@dataclass(eq=False)
class Claimed:
    """As much of a claim as lanes look at where nothing is parked."""

    entry: Entry
    route: str
    done: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class Running:
    """Lanes under test, and what they have begun."""

    tasks: asyncio.TaskGroup
    process: int
    begun: list[Claimed] = field(default_factory=list)
    finished: list[Claimed] = field(default_factory=list)
    offered: list[Claimed] = field(default_factory=list)
    taken: list[Claimed] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.permits = {name: permits_of(most or None, 1000, 4) for name, most in ROUTES.items() if name}
        limits = RouteLimits(lambda entry: self.permits.get(self._route_of(entry)), postponed=lambda _, __: None)
        settings = LaneSettings(connections=self.process, first_connections=2, connections_per_domain=2)
        self.lanes = Lanes(cast("Queue", None), settings, self._deliver, self.tasks, limits)

    def _route_of(self, entry: Entry) -> str:
        return next(it.route for it in self.offered if it.entry is entry)

    async def _deliver(self, claim: Claim, _: DomainHealth) -> Observation:
        claimed = cast("Claimed", claim)
        self.begun.append(claimed)
        running = Counter(it.route for it in self.running)
        permits = self.permits.get(claimed.route)
        assert permits is None or permits.used <= permits.allowed
        assert all(running[route] <= most for route, most in ROUTES.items() if most)
        assert len(self.running) <= self.process
        await claimed.done.wait()
        self.finished.append(claimed)
        return Reached()

    @property
    def running(self) -> list[Claimed]:
        return [it for it in self.begun if it not in self.finished]

    @property
    def waiting(self) -> list[Claimed]:
        return [it for it in self.offered if it not in self.begun and it not in self.taken]


steps = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), st.integers(0, 3), st.sampled_from(sorted(ROUTES))),
        st.tuples(st.just("end"), st.integers(0, 20), st.just("")),
        st.tuples(st.just("take away"), st.integers(0, 20), st.just("")),
        st.tuples(st.just("sweep"), st.just(0), st.just("")),
        st.tuples(st.just("halve"), st.just(0), st.sampled_from(["two", "wide"])),
        st.tuples(st.just("grow"), st.just(0), st.sampled_from(["two", "wide"])),
    ),
    max_size=40,
)


OFFERED_WHILE_FULL = [
    ("offer", 0, "one"),
    ("offer", 1, ""),
    ("offer", 2, "one"),
    ("offer", 3, "one"),
    ("end", 1, ""),
    ("offer", 1, ""),
    ("offer", 1, ""),
    ("offer", 0, ""),
    ("end", 0, ""),
    ("take away", 0, ""),
]
"""The lane that was woken has nothing left: the other one must not wait for an attempt that never comes."""
FORGOTTEN_LANE = [
    ("offer", 0, "one"),
    ("offer", 1, ""),
    ("offer", 2, "one"),
    ("end", 1, ""),
    ("take away", 0, ""),
    ("sweep", 0, ""),
    ("offer", 2, "one"),
    ("offer", 1, ""),
    ("end", 1, ""),
]
"""A domain whose lane was forgotten while it waited for a permit has a new lane, which waits as well."""


GROWN = [
    *(("offer", number, "wide") for number in range(3)),
    ("halve", 0, "wide"),
    ("offer", 3, "wide"),
    ("offer", 3, "wide"),
    ("end", 0, ""),
    ("end", 0, ""),
    ("grow", 0, "wide"),
    ("end", 0, ""),
]
"""A route that is allowed more begins more, though only one attempt has ended."""


@given(steps, st.integers(1, 6))
@example(OFFERED_WHILE_FULL, 3)
@example(FORGOTTEN_LANE, 3)
@example(GROWN, 6)
def test_no_entry_waits_for_ever_and_no_route_exceeds_its_limit(done: list[tuple[str, int, str]], process: int) -> None:
    asyncio.run(_run(done, process))


async def _run(done: list[tuple[str, int, str]], process: int) -> None:
    async with asyncio.TaskGroup() as tasks:
        all_lanes = Running(tasks, process)
        for what, number, route in done:
            await _step(all_lanes, what, number, route)
            await _settled()
        while all_lanes.running:
            all_lanes.running[0].done.set()
            await _settled()
        assert all_lanes.waiting == []


async def _step(all_lanes: Running, what: str, number: int, route: str) -> None:
    if what == "offer":
        claimed = Claimed(_entry(len(all_lanes.offered), f"d{number}.test"), route)
        all_lanes.offered.append(claimed)
        await all_lanes.lanes.offer(cast("Claim", claimed))
    elif what == "halve":
        all_lanes.permits[route].halve()
    elif what == "grow":
        all_lanes.permits[route].grow()
    elif what == "sweep":
        all_lanes.lanes.sweep()
    elif what == "end" and all_lanes.running:
        all_lanes.running[number % len(all_lanes.running)].done.set()
    elif what == "take away" and all_lanes.waiting:
        claimed = all_lanes.waiting[number % len(all_lanes.waiting)]
        all_lanes.taken.append(claimed)
        assert all_lanes.lanes.remove(cast("Claim", claimed))


async def _settled() -> None:
    """Let every task go on as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


def _entry(number: int, domain: str) -> Entry:
    made = attempts.entry(Inline(b""))
    return Entry.fresh(
        queue_id=QueueId(f"q{number}"),
        domain_token=token_of(domain),
        envelope=made.envelope,
        content=made.content,
        trace="",
        now=made.arrived,
        lifetime=made.expires - made.arrived,
    )
