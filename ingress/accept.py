"""The shell of acceptance, whoever handed the message in: judge → header lines → entries → commit → 250."""

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from prometheus_client import Counter, Histogram

from ingress.content.facts import Facts
from ingress.content.intake import Intake
from ingress.policy.limits import Limits
from ingress.policy.request import ContentRequest
from ingress.policy.verdict import Refuse
from ingress.split import inline_share
from ingress.stages import Stages
from ingress.verify.sender_demands import Faults, refusal
from jetpost.events.publish import Events
from jetpost.events.record import received as received_event
from jetpost.events.record import sender_warned
from jetpost.mail.address import domain_of
from jetpost.mail.content import Content
from jetpost.mail.envelope import Envelope
from jetpost.mail.header import HeaderLine
from jetpost.mail.reply import EnhancedStatus, Reply
from jetpost.mail.trace import fix_ups, received
from jetpost.process.signing import Signer
from jetpost.queue.model.accepted import entries_of
from jetpost.queue.model.entry import Entry, QueueId, fresh_queue_id
from jetpost.queue.queue import Queue
from jetpost.queue.storage.answer import Unavailable
from jetpost.sign.author import Authors
from jetpost.sign.dkim import Signable
from jetpost.telemetry.best_effort import BestEffort
from jetpost.telemetry.log import logger

ACCEPTED = Counter("jetpost_ingress_messages_accepted_total", "Messages answered with 250.")
BYTES = Histogram(
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

_SOUND = Faults()

log = logger(__name__)


class SenderCheck(Protocol):
    """Finds out whether senders meet what large providers demand."""

    @property
    def refuses(self) -> bool:
        """Whether faults refuse a message."""

    async def faults(self, authors: Authors, reverse_path: str) -> Faults:
        """What is wrong with the sender of a message; `reverse_path` is its domain. It ends by itself."""


class Acceptance(NamedTuple):
    """What accepting a message needs, made once: the queue, the events, limits, clocks and chance."""

    queue: Queue
    events: Events
    hostname: str
    limits: Limits
    stages: Stages
    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    entropy: Callable[[], int]
    signer: Signer | None = None
    """None when nothing is signed."""
    sender_check: SenderCheck | None = None
    """None when senders are not checked."""

    def fresh_id(self) -> QueueId:
        """A queue id for a message that is announced."""
        return fresh_queue_id(self.now(), self.entropy())

    def intake(self, queue_id: QueueId, domains: Iterable[str]) -> Intake:
        """What takes that message's content, on its way to `domains`."""
        return Intake(
            self.queue.content,
            queue_id,
            inline_bytes=inline_share(domains, self.queue.settings.inline_bytes),
            most_bytes=self.limits.message_bytes,
        )


class Submission(NamedTuple):
    """A message that has arrived completely, and is ours only once we say so."""

    queue_id: QueueId
    envelope: Envelope
    """Made by whoever spoke with the client; its origin says who that was."""
    facts: Facts
    """About the content."""
    completes_header: bool
    """Whether a missing Date and Message-ID are added (RFC 6409, 8): the client is a mail program."""
    signable: Signable | None = None
    """None when the message is not to be signed."""
    authors: Authors | None = None
    """None when its sender is not to be checked."""


async def accept(submission: Submission, intake: Intake, acceptance: Acceptance) -> Reply | Refuse:
    """Take responsibility for the message, or say why not (RFC 5321, 6.1). 250 means: it is on disk.

    What can raise comes before the commit: then nothing is stored. What follows it cannot take the 250 away.
    """
    began = acceptance.monotonic()
    try:
        objection, faults = await _judged(submission, acceptance)
    except Exception:
        await intake.abandon()
        raise
    if objection is not None:
        await intake.abandon()
        return objection
    content = await intake.finish()
    if isinstance(content, Unavailable):
        await intake.abandon()
        return _unavailable(submission, await acceptance.queue.explained(content))
    try:
        entries = await _entries(submission, content, acceptance)
        accepted = Reply(250, _OK, (f"Ok: queued as {submission.queue_id}",))
    except Exception:
        await intake.abandon()
        raise
    answer = await acceptance.queue.enqueue(entries)
    if isinstance(answer, Unavailable):
        # In doubt the entries are stored, and need their chunks: those stay for their age limit.
        if not answer.in_doubt:
            await intake.abandon()
        return _unavailable(submission, answer)
    _tell(submission, entries, acceptance, acceptance.monotonic() - began)
    if faults.faults:
        _warn(faults, entries, acceptance)
    return accepted


async def _judged(submission: Submission, acceptance: Acceptance) -> tuple[Refuse | None, Faults]:
    """Why the message is refused, or what is wrong with its sender all the same."""
    asked = ContentRequest(acceptance.limits, submission.envelope, submission.facts)
    objection = await acceptance.stages.content.verdict(asked)
    check = acceptance.sender_check
    if objection is not None or check is None or submission.authors is None:
        return objection, _SOUND
    faults = await check.faults(submission.authors, domain_of(submission.envelope.reverse_path))
    return (refusal(faults.faults) if check.refuses else None), faults


async def _entries(submission: Submission, content: Content, acceptance: Acceptance) -> tuple[Entry, ...]:
    """The message's entries. A thousand take some ten milliseconds: others have their turns meanwhile."""
    now = acceptance.now()
    lines = _header_lines(submission, now, acceptance.hostname)
    if acceptance.signer is not None and submission.signable is not None:
        # Last, when all is there that is signed; below Received, which is not.
        received_field, *others = lines
        lines = (received_field, *acceptance.signer.sign(submission.signable, lines, now), *others)
    lifetime = timedelta(seconds=acceptance.queue.settings.lifetime_s)
    entries: list[Entry] = []
    for entry in entries_of(submission.queue_id, submission.envelope, content, lines, now=now, lifetime=lifetime):
        entries.append(entry)
        if len(entries) % _ENTRIES_OF_A_TURN == 0:
            await asyncio.sleep(0)
    return tuple(entries)


def _header_lines(submission: Submission, now: datetime, hostname: str) -> tuple[HeaderLine, ...]:
    """The header lines that go above the content."""
    envelope, queue_id = submission.envelope, submission.queue_id
    only = envelope.recipients[0].address if len(envelope.recipients) == 1 else ""
    field = received(envelope.origin, by=hostname, queue_id=queue_id, recipient=only, now=now)
    if not submission.completes_header:
        return (field,)
    lacking = {"date": not submission.facts.has_date, "message_id": not submission.facts.has_message_id}
    return (field, *fix_ups(**lacking, by=hostname, queue_id=queue_id, now=now))


def _unavailable(submission: Submission, answer: Unavailable) -> Refuse:
    log.warning("not accepted", queue_id=submission.queue_id, reply=str(answer.reply), error=answer.cause)
    return Refuse(answer.reply, "queue")


def _tell(submission: Submission, entries: tuple[Entry, ...], acceptance: Acceptance, seconds: float) -> None:
    """Events, metrics and the log line: the message is ours whatever becomes of them."""
    queue_id, envelope = submission.queue_id, submission.envelope
    for entry in entries:
        with BestEffort("event", queue_id):
            acceptance.events.tell(received_event(entry))
    with BestEffort("metric", queue_id):
        ACCEPTED.inc()
        BYTES.observe(submission.facts.size)
        SECONDS.observe(seconds, {"queue_id": queue_id})
    with BestEffort("log", queue_id):
        origin = envelope.origin
        log.info(
            "accepted",
            queue_id=queue_id,
            listener=origin.listener,
            client=origin.client_address,
            name=origin.client_name,
            identity=origin.identity,
            protocol=origin.protocol,
            reverse_path=envelope.reverse_path,
            recipients=len(envelope.recipients),
            size=submission.facts.size,
            seconds=round(seconds, 4),
        )


def _warn(faults: Faults, entries: tuple[Entry, ...], acceptance: Acceptance) -> None:
    """The event and the log line of a sender who does not meet what large providers demand."""
    first = entries[0]
    with BestEffort("event", first.queue_id):
        acceptance.events.tell(sender_warned(first, faults.author, faults.faults, faults.why))
    with BestEffort("log", first.queue_id):
        log.warning(
            "sender does not meet the demands of providers",
            queue_id=first.queue_id,
            author=faults.author,
            faults=faults.faults,
            why=faults.why,
            limited_by=(faults.author, faults.faults),
        )
