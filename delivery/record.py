"""What an attempt came to, for people and machines: events, metrics, log lines."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple

from prometheus_client import Counter, Histogram

from jetpost.events.publish import Events
from jetpost.events.record import attempted
from jetpost.mail.envelope import Recipient
from jetpost.mail.outcome import Bounced, Deferred, Delivered, Discarded, Outcome
from jetpost.queue.model.entry import Entry
from jetpost.queue.model.names import DomainToken, label_of
from jetpost.queue.model.states import State
from jetpost.telemetry.best_effort import BestEffort
from jetpost.telemetry.log import logger

RECIPIENTS = Counter(
    "jetpost_delivery_recipients_total",
    "Recipients attempted, by outcome. Labels: `outcome` is delivered, deferred, bounced, expired or discarded.",
    ["outcome"],
)
SECONDS = Histogram(
    "jetpost_delivery_seconds",
    "Time from acceptance to delivery of a recipient.",
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400, 86400, 432000),
)

DOMAIN_RECIPIENTS = Counter(
    "jetpost_delivery_domain_recipients_total",
    "Recipients attempted, by recipient domain. Labels: `domain` is one of the first 200 of this process, or other; "
    "`outcome` is delivered, deferred, bounced, expired or discarded.",
    ["domain", "outcome"],
)
_MOST_DOMAINS = 200
"""Each domain costs four or five time series in Prometheus; the big ones are met first."""
_OTHER = "other"
_USUAL_PORT = 25
_labels: dict[DomainToken, str] = {}

log = logger(__name__)


class By(NamedTuple):
    """The way of an attempt."""

    route: str = ""
    """The name of the configured route, or the name and `/fallback`; empty: none applies."""
    ports: Mapping[tuple[Recipient, str], int] = MappingProxyType({})
    """Of hosts, by recipient and host; 25 where there is none."""

    def port(self, recipient: Recipient, host: str) -> int:
        """The port of the host, if it is another than 25; else 0."""
        port = self.ports.get((recipient, host), _USUAL_PORT) if self.ports else _USUAL_PORT
        return 0 if port == _USUAL_PORT else port


DIRECTLY = By()


def record(
    entry: Entry,
    outcomes: Mapping[Recipient, Outcome],
    successors: tuple[Entry, ...],
    now: datetime,
    events: Events,
    by: By = DIRECTLY,
) -> None:
    """Count, log and publish what became of each recipient of `entry`. Never raises: it has been settled."""
    with BestEffort("event", entry.queue_id):
        for recipient, outcome in final(outcomes, successors):
            _record(entry, recipient, outcome, now, events, by)


def _record(entry: Entry, recipient: Recipient, outcome: Outcome, now: datetime, events: Events, by: By) -> None:
    queue_id = entry.queue_id
    kind, why = _described(outcome)
    port = by.port(recipient, outcome.host)
    with BestEffort("event", queue_id):
        events.tell(attempted(entry, recipient, outcome, now, by.route, port))
    with BestEffort("metric", queue_id):
        RECIPIENTS.labels(kind).inc()
        DOMAIN_RECIPIENTS.labels(_label(entry.domain_token), kind).inc()
        if isinstance(outcome, Delivered):
            # The exemplar leads from a slow bucket to the message that was slow.
            SECONDS.observe(max((now - entry.arrived).total_seconds(), 0), {"queue_id": queue_id})
    with BestEffort("log", queue_id):
        log.info(
            kind,
            queue_id=queue_id,
            recipient=recipient.address,
            reverse_path=entry.envelope.reverse_path,
            attempt=entry.attempts + 1,
            host=outcome.host,
            **({"port": port} if port else {}),
            **({"route": by.route} if by.route else {}),
            why=why,
        )


def final(outcomes: Mapping[Recipient, Outcome], successors: tuple[Entry, ...]) -> Iterator[tuple[Recipient, Outcome]]:
    """Each recipient's outcome as it was settled: a deferral whose time is up has become a bounce."""
    bounced = dict(failure for entry in successors if entry.state is State.BOUNCE for failure in entry.failures)
    for recipient, outcome in outcomes.items():
        if recipient not in bounced:
            yield recipient, outcome
    yield from bounced.items()


def _label(domain_token: DomainToken) -> str:
    label = _labels.get(domain_token, _OTHER)
    if label is _OTHER and len(_labels) < _MOST_DOMAINS:
        label = _labels[domain_token] = label_of(domain_token)
    return label


def _described(outcome: Outcome) -> tuple[str, str]:
    match outcome:
        case Delivered(reply=reply):
            return "delivered", str(reply)
        case Discarded(why=why):
            return "discarded", why
        case Deferred(why=why):
            return "deferred", why
        case Bounced(why=why, expired=True):
            return "expired", why
        case Bounced(why=why):
            return "bounced", why
