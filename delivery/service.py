"""The delivery service: consume, one lane a domain, deliver."""

import asyncio
import random
import time
from contextlib import AsyncExitStack
from functools import partial

from delivery.attempt.routed import Router
from delivery.config import Delivery
from delivery.connect.pool import Pool
from delivery.context import DeliveryContext
from delivery.deliver import deliver
from delivery.lanes.lanes import Lanes
from delivery.retry import backoff
from delivery.route.actions.kinds import ToMx
from delivery.route.plan import plan
from delivery.route.prefetch import Prefetch
from delivery.route.routes import Routes
from delivery.settle import postpone
from delivery.shaping.adapt import DomainHealth, Observation
from delivery.shaping.limits import affordable
from delivery.shaping.permits import Permits, RouteLimits
from delivery.shaping.throttles import why_paused
from delivery.watch.expiry import watch
from jetpost.config.load import Settings
from jetpost.dns.resolver import Dns, Resolver
from jetpost.process.context import service_context
from jetpost.process.files import limit
from jetpost.process.run import Lifecycle
from jetpost.queue.claims.claim import Claim
from jetpost.queue.claims.consume import Consumer
from jetpost.queue.maintenance import read_through, sweep
from jetpost.queue.model.entry import Entry
from jetpost.queue.model.states import State
from jetpost.tasks import end, finish
from jetpost.telemetry.log import logger

log = logger(__name__)


async def serve(settings: Settings, lifecycle: Lifecycle) -> None:
    """Deliver until told to stop; then drain."""
    config = _within_files(settings.of(Delivery), limit())
    for fault in await asyncio.to_thread(config.faults):
        log.error("configuration", fault=fault)
    for remark in await asyncio.to_thread(config.remarks):
        log.warning("configuration", remark=remark)
    async with AsyncExitStack() as opened:
        resolver = Resolver(settings.of(Dns))
        opened.push_async_callback(resolver.aclose)
        pool = Pool(config.attempt, settings.hostname, config.lanes.connections)
        opened.push_async_callback(pool.aclose)
        # Closed before the pool: acks are confirmed first.
        jetstream, queue, events = await opened.enter_async_context(service_context(settings, lifecycle, "delivery"))
        context = DeliveryContext(
            config=config,
            hostname=settings.hostname,
            queue=queue,
            resolver=resolver,
            pool=pool,
            events=events,
            now=queue.clock.now,
            may_expire=queue.clock.may_expire,
            monotonic=time.monotonic,
            draw=random.random,
            router=_router(config, resolver, pool, settings.hostname),
        )
        lifecycle.ready_when("queue", queue.trouble)
        keeping = [
            asyncio.create_task(sweep.watch(queue, jetstream, lifecycle.stopping), name="sweep"),
            asyncio.create_task(read_through.watch(queue, jetstream, lifecycle.stopping), name="read through"),
        ]
        opened.push_async_callback(end, keeping)
        await _deliver_until_stopped(context, lifecycle)


def _router(config: Delivery, resolver: Resolver, pool: Pool, hostname: str) -> Router | None:
    """What takes mail by the configured routes; None when there are none."""
    if not config.routes:
        return None
    return Router(
        routes=Routes(config.routes, config.lanes, config.backoff, time.monotonic),
        resolver=resolver,
        pool=pool,
        routing=config.route,
        settings=config.attempt,
        hostname=hostname,
        monotonic=time.monotonic,
        draw=random.random,
    )


def _within_files(config: Delivery, files: int) -> Delivery:
    """The configuration with as many connections as the process may open `files`."""
    connections = affordable(config.lanes.connections, files)
    if connections < config.lanes.connections:
        log.warning("fewer connections than configured", connections=connections, files=files)
    lanes = config.lanes.model_copy(update={"connections": connections})
    return config.model_copy(update={"lanes": lanes})


async def _deliver_until_stopped(context: DeliveryContext, lifecycle: Lifecycle) -> None:
    config = context.config

    async def work(claim: Claim, health: DomainHealth) -> Observation | None:
        return await deliver(claim, health, context)

    consumer = context.queue.consumer(State.READY, max_claims=config.lanes.claims, max_bytes=config.lanes.ready_bytes)
    prefetch = Prefetch(partial(_look_up, context))
    async with asyncio.TaskGroup() as tasks:
        lanes = Lanes(
            context.queue, config.lanes, work, tasks, _route_limits(context), partial(_prepare, context, prefetch)
        )
        watching = tasks.create_task(watch(lanes, context, lifecycle.stopping))
        taking = tasks.create_task(_take(await consumer.start(), lanes))
        await lifecycle.stopping.wait()
        log.info("draining", patience_s=config.drain_s)
        leaving = tasks.create_task(consumer.stop())
        await taking
        # The watchdog may be waiting out a queue that is away: it has no more time for that than attempts have.
        await asyncio.gather(finish([watching], config.drain_s), lanes.close(config.drain_s))
        await leaving
        await prefetch.aclose()


def _prepare(context: DeliveryContext, prefetch: Prefetch, entry: Entry) -> None:
    """Ask DNS for the MX hosts of a domain whose entry waits. The hosts of a route are few, and cached already."""
    rule = context.router.routes.rule(entry) if context.router is not None else None
    if rule is None or isinstance(rule.action, ToMx):
        prefetch.begin(entry.domain)


async def _look_up(context: DeliveryContext, domain: str) -> None:
    config = context.config
    await plan(domain, context.resolver, config.route, config.attempt.terms, own=context.hostname, draw=context.draw)


def _route_limits(context: DeliveryContext) -> RouteLimits | None:
    """Those of the configured routes; None when no route has one."""
    router = context.router
    if router is None or not router.routes.have_limits:
        return None

    routes = router.routes

    def postponed(entry: Entry, permits: Permits) -> Entry | None:
        if (pause := routes.pause_of(entry)) is not None:
            return postpone(entry, why_paused(pause), context.now(), context.ends(pause))
        if not permits.is_congested:
            return None
        now = context.now()
        due = now + backoff(1, context.config.retry, jitter=context.draw())
        return postpone(entry, "not tried: too many messages wait for their route", now, due)

    return RouteLimits(routes.permits, postponed)


async def _take(consumer: Consumer, lanes: Lanes) -> None:
    async for claim in consumer:
        await lanes.offer(claim)
