"""The age limit, enforced from outside the lanes; and what nobody takes back: parked entries, forgotten retries.

A stuck lane cannot enforce anything, so this looks at claims and at the queue itself.
"""

import asyncio
from datetime import datetime, timedelta

import structlog
from prometheus_client import Counter

from delivery.deliver import conclude
from delivery.lanes.lane import Lanes
from delivery.late import LateRetries
from delivery.settle import expire
from delivery.tell import tell
from delivery.world import World
from jetpost.jetstream import ApiError, Unreachable
from jetpost.queue.claim import Claim
from jetpost.queue.entry import Entry, Site
from jetpost.queue.listing import depth
from jetpost.queue.states import State
from jetpost.reason import reason_of

EXPIRED = Counter("jetpost_delivery_watchdog_expired_total", "Entries that the watchdog took from a lane or the queue.")

log = structlog.get_logger(__name__)


async def watch(lanes: Lanes, world: World, stopping: asyncio.Event) -> None:
    """Look every `watchdog_s` seconds until `stopping`."""
    late = LateRetries(world)
    while not stopping.is_set():
        try:
            if world.may_expire():
                await _expire_waiting(lanes, world)
                await _expire_parked(world)
            for site in await _parked_sites(world):
                lanes.drain_parked(site)
            if world.may_expire():
                await late.begin()
            lanes.sweep()
        except (Unreachable, ApiError, ValueError) as error:
            log.warning("watchdog", error=reason_of(error))
        try:
            async with asyncio.timeout(world.config.watchdog_s):
                await stopping.wait()
        except TimeoutError:
            continue


async def _expire_waiting(lanes: Lanes, world: World) -> None:
    now = world.now()
    late = now - timedelta(seconds=2 * world.config.watchdog_s)
    for lane in lanes.lanes:
        for claim in [waiting for waiting in lane.waiting if waiting.entry.expires <= late]:
            if lanes.remove(claim):
                await _expire(claim, now, world)


async def _expire(claim: Claim, now: datetime, world: World) -> None:
    try:
        await conclude(claim, {}, expire(claim.entry, now), world)
    except asyncio.CancelledError:  # the process leaves, and the queue does not answer
        await world.queue.hand_back(claim)
        raise
    EXPIRED.inc()


async def _expire_parked(world: World) -> None:
    """Parked entries beyond their age: moved without a claim, guarded like every move."""
    now = world.now()
    for shard in world.queue.shards:
        while (oldest := await shard.oldest(State.PARKED)) is not None and _overdue(oldest.entry, now, world):
            successors = expire(oldest.entry, now)
            if await world.queue.move(shard, oldest, successors):
                EXPIRED.inc()
                tell(oldest.entry, {}, successors, now, world.events)


def _overdue(entry: Entry, now: datetime, world: World) -> bool:
    """So far beyond its age that no attempt begun in time can still be under way: its lane is stuck or gone."""
    content_s = world.config.attempt.timeouts.content_s(entry.size)
    return (now - entry.expires).total_seconds() > world.config.overdue_s + content_s


async def _parked_sites(world: World) -> list[Site]:
    if all([await shard.oldest(State.PARKED) is None for shard in world.queue.shards]):
        return []
    return sorted({site for _, site in (await depth(world.queue, State.PARKED)).by_state_and_site})
