"""Depth and age of the queue as metrics, from a few cheap questions now and then."""

import asyncio
from datetime import UTC, datetime

from prometheus_client import Gauge

from jetpost.jetstream.errors import ApiError, Unreachable
from jetpost.queue.model.states import State
from jetpost.queue.model.unreadable import Unreadable
from jetpost.queue.queue import Queue
from jetpost.queue.storage.shard import Shard
from jetpost.reason import reason_of
from jetpost.telemetry.log import logger

DEPTH = Gauge("jetpost_queue_depth", "Entries in the queue. Labels: `state`.", ["state"])
OLDEST = Gauge(
    "jetpost_queue_oldest_seconds",
    "Time since the oldest entry of a state was accepted; 0: none. Labels: `state`.",
    ["state"],
)
WAITING = Gauge(
    "jetpost_queue_waiting_seconds",
    "How long the entry at the head of a state has been in it. For ready and bounce, claimed entries do not count. "
    "0: none. Labels: `state`.",
    ["state"],
)
BYTES = Gauge("jetpost_queue_bytes", "Bytes that the queue's streams hold on each server.")
BEHIND = Gauge(
    "jetpost_queue_replicas_behind",
    "Copies of the queue's streams that are offline or have not caught up; 0 on one server.",
)

LIVE = (State.READY, State.PARKED, State.RETRY, State.BOUNCE, State.HELD)
_EVERY_S = 5.0
_CONSUMED = (State.READY, State.BOUNCE)
_COUNTED = (State.READY, State.PARKED, State.BOUNCE, State.HELD)

log = logger(__name__)


async def watch(queue: Queue, stopping: asyncio.Event) -> None:
    """Keep the gauges true until `stopping`."""
    while not stopping.is_set():
        try:
            await _look(queue)
        except (Unreachable, ApiError) as error:
            log.warning("cannot read queue state", error=reason_of(error))
        except Exception:  # a bug must not end the gauges
            log.exception("cannot read queue state")
        try:
            async with asyncio.timeout(_EVERY_S):
                await stopping.wait()
        except TimeoutError:
            continue


async def _look(queue: Queue) -> None:
    depth = dict.fromkeys(LIVE, 0)
    size = behind = 0
    for shard in queue.shards:
        about = await shard.jetstream.api(f"STREAM.INFO.{shard.stream}")
        state = about["state"]
        size += int(state["bytes"])
        replicas = (about.get("cluster") or {}).get("replicas") or ()
        behind += sum(1 for replica in replicas if replica.get("offline") or not replica.get("current"))
        counts = {counted: await _subjects(shard, counted) for counted in (*_COUNTED, State.DONE)}
        for counted in _COUNTED:
            depth[counted] += counts[counted]
        # What waits for its time may be a million entries: what is left is counted, never listed.
        depth[State.RETRY] += max(int(state["messages"]) - sum(counts.values()), 0)
    BYTES.set(size)
    BEHIND.set(behind)
    for state, number in depth.items():
        DEPTH.labels(state.value).set(number)
        OLDEST.labels(state.value).set(await _age(queue, state) if number else 0)
    for state in _COUNTED:
        WAITING.labels(state.value).set(await _wait(queue, state) if depth[state] else 0)


async def _subjects(shard: Shard, state: State) -> int:
    """Entries of one state: each has a subject of its own, so the server's count of subjects is theirs."""
    question = {"subjects_filter": shard.states(state), "offset": 0}
    answer = await shard.jetstream.api(f"STREAM.INFO.{shard.stream}", question)
    return int(answer.get("total", 0))


async def _age(queue: Queue, state: State) -> float:
    oldest = [
        found.since if isinstance(found, Unreadable) else found.entry.arrived
        for shard in queue.shards
        if (found := await shard.oldest(state)) is not None
    ]
    return max((datetime.now(UTC) - min(oldest)).total_seconds(), 0) if oldest else 0


async def _wait(queue: Queue, state: State) -> float:
    waits = [0.0]
    for shard in queue.shards:
        # What is claimed is being attempted, which may take long and is no reason to call for more processes.
        claimed = await shard.claimed_up_to(state.value) if state in _CONSUMED else 0
        if (head := await shard.oldest(state, beyond=claimed)) is not None:
            waits.append((datetime.now(UTC) - head.since).total_seconds())
    return max(waits)
