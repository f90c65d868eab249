"""The shell of one delivery: plan, attempt, settle, transition."""

import asyncio
from collections.abc import Mapping
from datetime import datetime

from prometheus_client import Counter

from delivery.attempt.attempt import Attempt, attempt
from delivery.attempt.routed import why_of
from delivery.context import DeliveryContext
from delivery.lanes.lanes import POSTPONED
from delivery.record import DIRECTLY, By, record
from delivery.route.actions.kinds import ToMx
from delivery.route.mx import Route
from delivery.route.plan import plan
from delivery.route.rules import Rule
from delivery.settle import CONGESTED, postpone, settle
from delivery.shaping.adapt import DomainHealth, Missed, Observation, Reached
from delivery.shaping.throttles import Pause, why_paused
from jetpost.mail.envelope import Recipient
from jetpost.mail.outcome import Deferred, Outcome
from jetpost.mail.reply import EnhancedStatus
from jetpost.queue.claims.claim import Claim
from jetpost.queue.model.entry import Entry
from jetpost.queue.model.states import State
from jetpost.reason import reason_of
from jetpost.telemetry.log import logger

QUARANTINED = Counter(
    "jetpost_delivery_quarantined_total", "Entries held because they had no outcome, or it could not be stored."
)
_NO_ANSWER = EnhancedStatus(4, 4, 1)

log = logger(__name__)


async def deliver(claim: Claim, health: DomainHealth, context: DeliveryContext) -> Observation | None:
    """Try one claimed entry once and write down what came of it. Returns what that says about the domain."""
    entry = claim.entry
    if not await context.queue.is_open(claim):
        return None
    if claim.claims > context.queue.settings.quarantine_after:
        await _quarantine(claim, context)
    elif claim.is_shared:
        await context.queue.store_again(claim)
    elif (rule := _rule(entry, context)) is not None and not rule.is_mx_alone:
        return await _attempt_by(rule, claim, context)
    elif health.is_suspended(context.monotonic()):
        why = f"not tried: no host of {entry.domain} answers ({health.why})"
        await _record(claim, Deferred(_NO_ANSWER, why), context, _by(rule))
    else:
        return await _attempt(rule, claim, context)
    return None


def _rule(entry: Entry, context: DeliveryContext) -> Rule | None:
    return None if context.router is None else context.router.routes.rule(entry)


def _by(rule: Rule | None) -> By:
    return DIRECTLY if rule is None else By(rule.name)


async def _attempt(rule: Rule | None, claim: Claim, context: DeliveryContext) -> Observation | None:
    """To the MX hosts of the domain."""
    entry, settings, began = claim.entry, context.config.attempt, context.monotonic()
    routing, terms = context.config.route, settings.terms
    if (router := context.router) is not None and rule is not None:
        assert isinstance(rule.action, ToMx)
        routing, terms = router.mx_terms(rule.action)
    route = await plan(entry.domain, context.resolver, routing, terms, own=context.hostname, draw=context.draw)
    if not isinstance(route, Route):
        await _record(claim, route, context, _by(rule))
        return None
    made = await attempt(entry, route, lambda: context.queue.content.chunks(entry.content), context.pool, settings)
    by = _by(rule)._replace(ports=made.ports)
    await conclude(claim, made.outcomes, _follow(entry, made.outcomes, context), context, by)
    if not made.unreachable:
        return Reached()
    return None if made.starved else Missed(began, why_of(made))


async def _attempt_by(rule: Rule, claim: Claim, context: DeliveryContext) -> Observation | None:
    """By a route whose hosts are not those of the domain. That they do not answer says nothing about the domain."""
    entry, router = claim.entry, context.router
    assert router is not None
    routed = await router.attempt(entry, rule, lambda: context.queue.content.chunks(entry.content))
    if isinstance(routed.result, Attempt):
        outcomes, by = routed.result.outcomes, By(routed.route, routed.result.ports)
        not_before = None if routed.pause is None else context.ends(routed.pause)
        await conclude(claim, outcomes, _follow(entry, outcomes, context, not_before), context, by)
    elif isinstance(routed.result, Pause):
        await _wait(claim, routed.result, By(routed.route), context)
    else:
        await _record(claim, routed.result, context, By(routed.route))
    return Reached() if routed.reached else None


async def _wait(claim: Claim, pause: Pause, by: By, context: DeliveryContext) -> None:
    """Nothing was attempted: the entry comes back when its route can be tried again, unless its time is up."""
    why = why_paused(pause)
    later = postpone(claim.entry, why, context.now(), context.ends(pause))
    if later is None:
        await _record(claim, Deferred(CONGESTED, why), context, by)
        return
    await conclude(claim, {}, (later,), context)
    POSTPONED.inc()


async def _record(claim: Claim, outcome: Outcome, context: DeliveryContext, by: By) -> None:
    """The same outcome for every recipient."""
    outcomes = dict.fromkeys(claim.entry.envelope.recipients, outcome)
    await conclude(claim, outcomes, _follow(claim.entry, outcomes, context), context, by)


def _follow(
    entry: Entry,
    outcomes: Mapping[Recipient, Outcome],
    context: DeliveryContext,
    not_before: datetime | None = None,
) -> tuple[Entry, ...]:
    """The successors. Never raises: an outcome that was not recorded would be an attempt made again."""
    try:
        return settle(
            entry,
            outcomes,
            context.now(),
            context.config.retry,
            jitter=context.draw(),
            may_expire=context.may_expire(),
            not_before=not_before,
        )
    except Exception as error:
        log.exception("cannot record outcome", queue_id=entry.queue_id)
        reason = f"attempted, but what became of it cannot be recorded: {type(error).__name__}: {reason_of(error)}"
        return (entry.moved(State.HELD, reason=reason),)


async def conclude(
    claim: Claim,
    outcomes: Mapping[Recipient, Outcome],
    successors: tuple[Entry, ...],
    context: DeliveryContext,
    by: By = DIRECTLY,
) -> None:
    """Make the transition, then tell of it; when it can never be made the entry is held, and nothing is told."""
    settled = await context.queue.settle(claim, successors)
    if not settled or any(successor.state is State.HELD for successor in successors):
        QUARANTINED.inc()
        return
    # NATS's client writes the ack in the next pass of the event loop. Told before that, a message would be logged as
    # delivered and, after a kill in between, be delivered again.
    try:
        await asyncio.sleep(0)
    finally:
        record(claim.entry, outcomes, successors, context.now(), context.events, by)


async def _quarantine(claim: Claim, context: DeliveryContext) -> None:
    reason = f"claimed {claim.claims} times without an outcome"
    await context.queue.settle(claim, [claim.entry.moved(State.HELD, reason=reason)])
    QUARANTINED.inc()
    log.error("quarantined", queue_id=claim.entry.queue_id, reason=reason)
