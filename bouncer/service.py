"""The bouncer: tells senders what did not arrive."""

import asyncio

from prometheus_client import Counter

from bouncer.config import Bouncer
from bouncer.decide import NoDsn, decide
from bouncer.send import compose
from jetpost.config.load import Settings
from jetpost.dns.resolver import Dns
from jetpost.events.publish import Events
from jetpost.events.record import received
from jetpost.jetstream.errors import ApiError, Unreachable
from jetpost.process.context import service_context
from jetpost.process.dkim.records import compare_records
from jetpost.process.dkim.settings import Dkim
from jetpost.process.run import Lifecycle
from jetpost.process.signing import Signer, signing
from jetpost.queue.claims.claim import Claim
from jetpost.queue.claims.consume import Consumer
from jetpost.queue.content.large import ContentMissing
from jetpost.queue.maintenance.gauge import watch
from jetpost.queue.model.states import State
from jetpost.queue.queue import Queue
from jetpost.reason import reason_of
from jetpost.tasks import end
from jetpost.telemetry.best_effort import BestEffort
from jetpost.telemetry.log import logger

DSNS = Counter("jetpost_bouncer_dsns_total", "Delivery status notifications (DSN) queued.")
NOT_SENT = Counter(
    "jetpost_bouncer_no_dsn_total",
    "Failures about which no DSN is sent. Labels: `reason` is null_reverse_path or notify_never.",
    ["reason"],
)
HELD = Counter("jetpost_bouncer_held_total", "Bounces held because their DSN could not be created.")
_CLAIMED_BYTES = 64 * 1024 * 1024

log = logger(__name__)


async def serve(settings: Settings, lifecycle: Lifecycle) -> None:
    """Send DSNs until told to stop; then finish what has begun."""
    config = settings.of(Bouncer)
    async with (
        service_context(settings, lifecycle, "bouncer") as (_, queue, events),
        signing(settings.of(Dkim), settings.of(Dns)) as signer,
    ):
        worker = BounceWorker(queue, events, config, settings.hostname, signer)
        lifecycle.ready_when("queue", queue.trouble)
        watching = [asyncio.create_task(watch(queue, lifecycle.stopping), name="gauge")]
        if signer is not None:
            comparing = compare_records(signer.published_keys, settings.of(Dns), settings.of(Dkim).records_s)
            watching.append(asyncio.create_task(comparing, name="dkim records"))
        try:
            await _send_until_stopped(worker, lifecycle)
        finally:
            await end(watching)


async def _send_until_stopped(worker: "BounceWorker", lifecycle: Lifecycle) -> None:
    concurrency = worker.config.concurrency
    consumer = worker.queue.consumer(State.BOUNCE, max_claims=concurrency, max_bytes=_CLAIMED_BYTES)
    async with asyncio.TaskGroup() as tasks:
        taking = tasks.create_task(_take(await consumer.start(), worker, tasks))
        await lifecycle.stopping.wait()
        leaving = tasks.create_task(consumer.stop())
        await taking
        await worker.finish(worker.config.drain_s)
        await leaving


async def _take(consumer: Consumer, worker: "BounceWorker", tasks: asyncio.TaskGroup) -> None:
    # The consumer yields no more than `concurrency` claims at a time: that bounds the tasks.
    async for claim in consumer:
        worker.begin(claim, tasks)


class BounceWorker:
    """Where one bounce after the other is dealt with."""

    def __init__(
        self, queue: Queue, events: Events, config: Bouncer, hostname: str, signer: Signer | None = None
    ) -> None:
        self.queue = queue
        self.config = config
        self._events = events
        self._hostname = hostname
        self._signer = signer
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, claim: Claim, tasks: asyncio.TaskGroup) -> None:
        """Deal with a bounce in a task of its own."""
        task = tasks.create_task(self.handle(claim))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def finish(self, patience_s: float) -> None:
        """Let what has begun come to its end; what does not within `patience_s` comes again elsewhere."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=patience_s)
            await end(late)

    async def handle(self, claim: Claim) -> None:
        """Send a DSN about a failure, or none; a bounce that cannot be dealt with is held, never dropped."""
        try:
            await self._handle(claim)
        except (Unreachable, ApiError, OSError) as error:
            log.warning("cannot process bounce, will retry", queue_id=claim.entry.queue_id, error=reason_of(error))
            claim.consumer.release(claim)  # it comes again after `queue.ack_wait_s`
        except Exception as error:
            log.exception("cannot create DSN", queue_id=claim.entry.queue_id)
            await self._hold_or_release(claim, f"cannot create DSN: {type(error).__name__}")

    async def _hold_or_release(self, claim: Claim, reason: str) -> None:
        """Hold it; when even that fails it comes again, and the other bounces go on."""
        try:
            await self._hold(claim, reason)
        except Exception:
            log.exception("cannot hold bounce", queue_id=claim.entry.queue_id)
            claim.consumer.release(claim)

    async def _handle(self, claim: Claim) -> None:
        entry = claim.entry
        if claim.claims > self.queue.settings.quarantine_after:
            await self._hold(claim, f"claimed {claim.claims} times without an outcome")
            return
        if not entry.failures:
            await self._hold(claim, "it names no failure, so nobody could be told of one")
            return
        decision = decide(entry)
        if isinstance(decision, NoDsn):
            await self.queue.settle(claim, [])
            NOT_SENT.labels(decision.reason).inc()
            log.info("no DSN sent", queue_id=entry.queue_id, reason=decision.reason)
            return
        try:
            now = self.queue.clock.now()
            dsn = await compose(entry, decision, self.queue, self.config, self._hostname, now, self._signer)
        except ContentMissing as error:
            await self._hold(claim, reason_of(error))
            return
        if not await self.queue.settle(claim, [dsn]):
            HELD.inc()
            return
        DSNS.inc()
        with BestEffort("event", entry.queue_id):
            self._events.tell(received(dsn))
        log.info("DSN queued", queue_id=entry.queue_id, dsn_id=dsn.queue_id, to=decision.to)

    async def _hold(self, claim: Claim, reason: str) -> None:
        await self.queue.settle(claim, [claim.entry.moved(State.HELD, reason=reason)])
        HELD.inc()
        log.error("held", queue_id=claim.entry.queue_id, reason=reason)
