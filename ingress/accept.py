"""The shell of acceptance: judge → trace → split → entries → commit → 250."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

from prometheus_client import Counter, Histogram

from ingress.intake import Intake
from ingress.policy.judge import judge_content
from ingress.policy.limits import Limits
from ingress.policy.verdict import Refuse, Terms
from ingress.session.body import Facts
from ingress.session.transaction import Session, Transaction, envelope_of, origin_of
from ingress.split import by_domain, inline_share
from jetpost.events.publish import Events
from jetpost.events.record import received as received_event
from jetpost.mail.content import Content
from jetpost.mail.envelope import Envelope
from jetpost.mail.reply import EnhancedStatus, Reply
from jetpost.mail.trace import fix_ups, received
from jetpost.queue.model.entry import Entry, QueueId, fresh_queue_id
from jetpost.queue.queue import Queue
from jetpost.queue.storage.answer import Unavailable
from jetpost.telemetry.best_effort import BestEffort
from jetpost.telemetry.log import logger

ACCEPTED = Counter("jetpost_ingress_messages_accepted_total", "Messages answered with 250.")
OCTETS = Histogram(
    "jetpost_ingress_message_bytes",
    "Size of accepted contents.",
    buckets=(1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864),
)
SECONDS = Histogram(
    "jetpost_ingress_acceptance_seconds",
    "Time from the end of data to the 250.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)

_ENTRIES_OF_A_TURN = 64
_OK = EnhancedStatus(2, 0, 0)

log = logger(__name__)


class Desk(NamedTuple):
    """Where messages are accepted: the edges, made once."""

    queue: Queue
    events: Events
    hostname: str
    limits: Limits
    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    entropy: Callable[[], int]

    def fresh_id(self) -> QueueId:
        """A queue id for the message that DATA announces."""
        return fresh_queue_id(self.now(), self.entropy())

    def intake(self, queue_id: QueueId, transaction: Transaction) -> Intake:
        """What takes that message's content."""
        return Intake(
            self.queue.content,
            queue_id,
            inline_bytes=inline_share((it.domain for it in transaction.destinations), self.queue.settings.inline_bytes),
            most_bytes=self.limits.message_bytes,
        )


class Offer(NamedTuple):
    """A message that has arrived completely, and is ours only once we say so."""

    queue_id: QueueId
    session: Session
    transaction: Transaction
    listener: str
    terms: Terms
    facts: Facts


async def accept(offer: Offer, intake: Intake, desk: Desk) -> Reply | Refuse:
    """Take responsibility for the message, or say why not (RFC 5321, 6.1). 250 means: it is on disk.

    What can raise comes before the commit: then nothing is stored. What follows it cannot take the 250 away.
    """
    began = desk.monotonic()
    objection = judge_content(offer.facts, desk.limits)
    if objection is not None:
        await intake.abandon()
        return objection
    content = await intake.finish()
    if isinstance(content, Unavailable):
        await intake.abandon()
        return _unavailable(offer, await desk.queue.explained(content))
    try:
        entries = await _entries(offer, content, desk)
        accepted = Reply(250, _OK, (f"Ok: queued as {offer.queue_id}",))
    except Exception:
        await intake.abandon()
        raise
    answer = await desk.queue.enqueue(entries)
    if isinstance(answer, Unavailable):
        # In doubt the entries are stored, and need their chunks: those stay for their age limit.
        if not answer.in_doubt:
            await intake.abandon()
        return _unavailable(offer, answer)
    _tell(offer, entries, desk, desk.monotonic() - began)
    return accepted


async def _entries(offer: Offer, content: Content, desk: Desk) -> tuple[Entry, ...]:
    """The message's entries. A thousand take some ten milliseconds: others have their turns meanwhile."""
    smtputf8 = offer.transaction.sender.parameters.smtputf8
    envelope = envelope_of(offer.transaction, origin_of(offer.session, offer.listener, smtputf8=smtputf8))
    now = desk.now()
    trace = _trace(offer, envelope, now, desk.hostname)
    lifetime = timedelta(seconds=desk.queue.settings.lifetime_s)
    entries: list[Entry] = []
    for domain_token, part in by_domain(envelope).items():
        if len(entries) % _ENTRIES_OF_A_TURN == _ENTRIES_OF_A_TURN - 1:
            await asyncio.sleep(0)
        entries.append(
            Entry.fresh(
                queue_id=offer.queue_id,
                domain_token=domain_token,
                envelope=part,
                content=content,
                trace=trace,
                now=now,
                lifetime=lifetime,
            )
        )
    return tuple(entries)


def _trace(offer: Offer, envelope: Envelope, now: datetime, hostname: str) -> str:
    only = envelope.recipients[0].address if len(envelope.recipients) == 1 else ""
    field = received(envelope.origin, by=hostname, queue_id=offer.queue_id, recipient=only, now=now)
    if not offer.terms.submission:
        return field
    lacking = {"date": not offer.facts.has_date, "message_id": not offer.facts.has_message_id}
    return field + fix_ups(**lacking, by=hostname, queue_id=offer.queue_id, now=now)


def _unavailable(offer: Offer, answer: Unavailable) -> Refuse:
    log.warning("not accepted", queue_id=offer.queue_id, reply=str(answer.reply), error=answer.cause)
    return Refuse(answer.reply, "queue")


def _tell(offer: Offer, entries: tuple[Entry, ...], desk: Desk, seconds: float) -> None:
    """Events, metrics and the log line: the message is ours whatever becomes of them."""
    queue_id = offer.queue_id
    for entry in entries:
        with BestEffort("event", queue_id):
            desk.events.tell(received_event(entry))
    with BestEffort("metric", queue_id):
        ACCEPTED.inc()
        OCTETS.observe(offer.facts.size)
        SECONDS.observe(seconds, {"queue_id": queue_id})
    with BestEffort("log", queue_id):
        envelope = entries[0].envelope
        log.info(
            "accepted",
            queue_id=queue_id,
            listener=offer.listener,
            client=offer.session.client_address,
            name=offer.session.client_name,
            identity=offer.session.identity,
            protocol=envelope.origin.protocol,
            reverse_path=envelope.reverse_path,
            recipients=len(offer.transaction.destinations),
            size=offer.facts.size,
            seconds=round(seconds, 4),
        )
