"""The age limit, enforced from outside the lanes; and what nobody takes back: parked entries, forgotten retries.

A stuck lane cannot enforce anything, so this looks at claims and at the queue itself.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from prometheus_client import Counter

from delivery.context import DeliveryContext
from delivery.deliver import conclude
from delivery.lanes.lanes import Lanes
from delivery.record import record
from delivery.settle import expire
from delivery.watch.overdue_retries import LateRetries
from jetpost.jetstream.errors import ApiError, Unreachable
from jetpost.queue.claims.claim import Claim
from jetpost.queue.listing import depth
from jetpost.queue.model.entry import Entry
from jetpost.queue.model.names import is_domain_token
from jetpost.queue.model.states import State
from jetpost.queue.model.unreadable import Unreadable
from jetpost.queue.storage.shard import Found, Shard
from jetpost.reason import reason_of
from jetpost.telemetry.log import logger

EXPIRED = Counter(
    "jetpost_delivery_watchdog_expired_total", "Entries that the watchdog expired, from a lane or the queue."
)

_A_LOOK = 256
"""Parked entries of a shard that are looked at each time there are some of no domain."""

log = logger(__name__)


async def watch(lanes: Lanes, context: DeliveryContext, stopping: asyncio.Event) -> None:
    """Look every `watchdog_s` seconds until `stopping`. What fails in one part of a look costs the others nothing.

    What compares times waits while the process's clock is wrong.
    """
    late, strangers = LateRetries(context), Strangers(context)
    looks: tuple[tuple[Callable[[], Awaitable[None]], bool], ...] = (
        (lambda: _expire_waiting(lanes, context), True),
        (lambda: _expire_parked(context), True),
        (lambda: _drain_parked(lanes, context, strangers), False),
        (late.begin, True),
    )
    while not stopping.is_set():
        for look, needs_time in looks:
            try:
                if context.may_expire() or not needs_time:
                    await look()
            except (Unreachable, ApiError) as error:
                log.warning("watchdog failed", error=reason_of(error))
            except Exception:
                log.exception("watchdog failed")
        lanes.sweep()
        try:
            async with asyncio.timeout(context.config.watchdog_s):
                await stopping.wait()
        except TimeoutError:
            continue


async def _expire_waiting(lanes: Lanes, context: DeliveryContext) -> None:
    now = context.now()
    late = now - timedelta(seconds=2 * context.config.watchdog_s)
    for lane in lanes.lanes:
        for claim in [waiting for waiting in lane.waiting if waiting.entry.expires <= late]:
            if lanes.remove(claim):
                await _expire(claim, now, context)


async def _expire(claim: Claim, now: datetime, context: DeliveryContext) -> None:
    try:
        await conclude(claim, {}, expire(claim.entry, now), context)
    except asyncio.CancelledError:  # the process leaves, and the queue does not answer
        await context.queue.nak(claim)
        raise
    except Exception as error:  # a bug; the other entries have their look
        await context.queue.give_up(claim, error)
        return
    EXPIRED.inc()


async def _expire_parked(context: DeliveryContext) -> None:
    """Parked entries beyond their age: moved without a claim, with an expected last sequence.

    What is unreadable is held.
    """
    now = context.now()
    for shard in context.queue.shards:
        beyond = 0
        while (oldest := await shard.oldest(State.PARKED, beyond=beyond)) is not None:
            beyond = oldest.sequence
            try:
                if not await _expire_one(shard, oldest, now, context):
                    break
            except (Unreachable, ApiError):
                raise
            except Exception:  # a bug; the other entries have their look
                log.exception("cannot expire parked entry", sequence=oldest.sequence)


async def _expire_one(shard: Shard, oldest: Found, now: datetime, context: DeliveryContext) -> bool:
    """Whether what lies behind it is to be looked at: not behind one that has time."""
    if isinstance(oldest, Unreadable):
        await context.queue.hold(shard, oldest)
        return True
    if not _overdue(oldest.entry, now, context):
        return False
    successors = expire(oldest.entry, now)
    if await context.queue.move(shard, oldest, successors):
        EXPIRED.inc()
        record(oldest.entry, {}, successors, now, context.events)
    return True


def _overdue(entry: Entry, now: datetime, context: DeliveryContext) -> bool:
    """So far beyond its age that no attempt begun in time can still be under way: its lane is stuck or gone."""
    content_s = context.config.attempt.timeouts.content_s(entry.size)
    return (now - entry.expires).total_seconds() > context.config.overdue_s + content_s


async def _drain_parked(lanes: Lanes, context: DeliveryContext, strangers: "Strangers") -> None:
    if all([await shard.oldest(State.PARKED) is None for shard in context.queue.shards]):
        return
    tokens = sorted({token for _, token in (await depth(context.queue, State.PARKED)).by_state_and_domain})
    known = [token for token in tokens if is_domain_token(token)]
    for token in known:
        lanes.drain_parked(token)
    if len(known) < len(tokens):
        await strangers.hold()


class Strangers:
    """Goes round the parked entries, a few at a time, for those of no domain: no lane takes them."""

    def __init__(self, context: DeliveryContext) -> None:
        self._context = context
        self._looked_up_to: dict[int, int] = {}

    async def hold(self) -> None:
        """Hold what is unreadable. Unreachable or ApiError when the queue is away."""
        for shard in self._context.queue.shards:
            beyond = self._looked_up_to.get(shard.number, 0)
            for _ in range(_A_LOOK):
                found = await shard.oldest(State.PARKED, beyond=beyond)
                beyond = found.sequence if found else 0
                if found is None:
                    break
                if isinstance(found, Unreadable):
                    await self._context.queue.hold(shard, found)
            self._looked_up_to[shard.number] = beyond
