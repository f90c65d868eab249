"""One attempt: the hosts of a route in order, until every recipient has an outcome."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from prometheus_client import Counter, Histogram

from delivery.attempt.config import AttemptSettings
from delivery.attempt.scan import Chunks
from delivery.attempt.transaction import Result, transact
from delivery.classify.phases import Phase, outcome
from delivery.classify.throttling import EARLY, is_throttling
from delivery.connect.connection import Connection
from delivery.connect.opening import OutOfFiles, Refusal
from delivery.connect.pool import Pool
from delivery.route.endpoint import Endpoint
from delivery.route.mx import Route
from jetpost.mail.envelope import Recipient
from jetpost.mail.outcome import Bounced, Deferred, Outcome
from jetpost.mail.reply import EnhancedStatus
from jetpost.queue.model.entry import Entry
from jetpost.reason import reason_of
from jetpost.telemetry.log import logger

ATTEMPTS = Counter(
    "jetpost_delivery_attempts_total", "Attempts. Labels: `reached` is yes when a host answered, else no.", ["reached"]
)
SECONDS = Histogram(
    "jetpost_delivery_attempt_seconds",
    "Duration of an attempt.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900),
)
_NO_HOST = Deferred(EnhancedStatus(4, 4, 1), "no host could be tried")
_NO_TIME = Deferred(EnhancedStatus(4, 4, 2), "the hosts took too much of the attempt's time; the next one goes on")
_NOT_HERE = EnhancedStatus(4, 3, 3)
"""The host lacks what the message needs (RFC 3463, 3.4), and another one may have it."""
_USUAL_PORT = 25
_FAILED = Deferred(EnhancedStatus(4, 3, 0), "this mail system failed in the middle of the attempt")
_OUT_OF_FILES = Deferred(EnhancedStatus(4, 3, 0), "this mail system has too many files open for one more connection")

log = logger(__name__)


Host = tuple[str, int]
"""Name and port."""


class Throttle(NamedTuple):
    """A host's word that it is sent too much."""

    why: str
    early: bool
    """Whether it came before MAIL and AUTH."""


@dataclass
class Attempt:
    """One try of one entry."""

    until: float
    """On the loop's clock: when nothing may begin any more."""
    outcomes: dict[Recipient, Outcome] = field(default_factory=dict)
    """One for each recipient, in the end."""
    host: str = ""
    """The last host that answered."""
    tls: str = ""
    """TLS version and cipher of the connection to it."""
    unreachable: bool = True
    """Whether no host of the domain could be used at all."""
    starved: bool = False
    """Whether there was no file descriptor for a connection: what was not tried says nothing about the domain."""
    refused_in: set[Phase] = field(default_factory=set)
    """How far the connections had come that no message could be sent over."""
    left: list[Recipient] = field(default_factory=list)
    """Recipients that still need a host."""
    last: dict[Recipient, Deferred] = field(default_factory=dict)
    """What the hosts so far said to them."""

    impossible: dict[Recipient, Bounced] = field(default_factory=dict)
    """Why hosts so far can never take the message, as far as their EHLO says."""
    incapable: set[Host] = field(default_factory=set)
    """The hosts that said so."""
    left_out: bool = False
    """Whether some host was not tried that may take the message later."""
    throttles: dict[Host, Throttle | None] = field(default_factory=dict)
    """Hosts of a route that say that they are sent too much; None: they answered, and did not say so."""
    throttled: dict[Recipient, Deferred] = field(default_factory=dict)
    """What hosts that are sent too much said to recipients."""
    port: int = 0
    """Of `host`."""
    ports: dict[tuple[Recipient, str], int] = field(default_factory=dict)
    """At which port a host said it, by recipient and host; 25 where there is none."""
    failed: dict[Host, str] = field(default_factory=dict)
    """Hosts that sent recipients to the next one, and why."""

    @property
    def waits_for_hosts(self) -> bool:
        """Whether all that is deferred is so because hosts are sent too much."""
        deferred = [(to, it) for to, it in self.outcomes.items() if isinstance(it, Deferred)]
        return bool(deferred) and all(self.throttled.get(to) == it for to, it in deferred)

    @property
    def has_time(self) -> bool:
        """Whether something may still begin."""
        return asyncio.get_running_loop().time() < self.until

    def is_done_with(self, endpoint: Endpoint) -> bool:
        """Whether the host has said enough at another address: it can never take the message, or not so much now."""
        host = endpoint.host, endpoint.port
        throttle = self.throttles.get(host)
        return host in self.incapable or (throttle is not None and not throttle.early)

    def heard_from(self, endpoint: Endpoint, recipients: Iterable[Recipient]) -> None:
        """A host has said something to these recipients."""
        if self.ports or endpoint.port != _USUAL_PORT:
            self.ports |= {(recipient, endpoint.host): endpoint.port for recipient in recipients}

    def conclusion(self, recipient: Recipient) -> Deferred | Bounced:
        """The outcome of a recipient whom no host has settled: who may still be taken by another host is deferred."""
        said, never = self.last.get(recipient), self.impossible.get(recipient)
        if never is None:
            return said or (_NO_HOST if self.has_time else _NO_TIME)
        if said is not None and self.failed.keys() - self.incapable:
            return said
        return Deferred(_NOT_HERE, never.why, None, never.host) if self.left_out else never


class Tried(NamedTuple):
    """One message at one endpoint."""

    entry: Entry
    endpoint: Endpoint
    chunks: Chunks
    pool: Pool
    settings: AttemptSettings
    obeys: bool
    """Whether it counts when the host says that it is sent too much: then it gets nothing more."""


async def attempt(
    entry: Entry,
    route: Route,
    chunks: Chunks,
    pool: Pool,
    settings: AttemptSettings,
    *,
    until: float | None = None,
    obeys: bool = False,
    left_out: bool = False,
) -> Attempt:
    """Try the hosts of `route` in order (RFC 5321, 5.1). Once a recipient is settled it raises no error.

    A bug in the middle takes the outcomes before it not along: who has the message must not get it again. `until` is
    when an attempt that has begun elsewhere has had its time, on the loop's clock. `obeys`: a host that says that it is
    sent too much is not tried at its other addresses. `left_out`: there are hosts that are not tried now.
    """
    begun = time.perf_counter()
    if until is None:
        until = asyncio.get_running_loop().time() + settings.timeouts.attempt_s
    made = Attempt(until, left=list(entry.envelope.recipients), left_out=left_out)
    try:
        for endpoint in route.endpoints():
            if made.left and not made.is_done_with(endpoint):
                if made.starved or not made.has_time:
                    made.left_out = True
                    break
                await _try(made, Tried(entry, endpoint, chunks, pool, settings, obeys))
    except Exception:
        if not made.outcomes:
            raise
        log.exception("attempt failed with an exception", queue_id=entry.queue_id)
        made.left = [recipient for recipient in entry.envelope.recipients if recipient not in made.outcomes]
        made.last |= {recipient: _FAILED for recipient in made.left if recipient not in made.last}
    for recipient in made.left:
        made.outcomes[recipient] = made.conclusion(recipient)
    ATTEMPTS.labels("no" if made.unreachable else "yes").inc()
    SECONDS.observe(time.perf_counter() - begun)
    return made


async def _try(made: Attempt, tried: Tried) -> None:
    """One host at one address: as many transactions as its recipients need."""
    host = tried.endpoint.host, tried.endpoint.port
    waiting: list[Recipient] = made.left
    elsewhere: list[Recipient] = []
    while waiting and made.has_time:
        try:
            result = await _transact(made, tried, waiting)
        except OutOfFiles:
            made.starved = True
            made.last |= dict.fromkeys(waiting, _OUT_OF_FILES)
            break
        except Refusal as refusal:
            made.refused_in.add(refusal.phase)
            made.failed[host] = reason_of(refusal)
            made.heard_from(tried.endpoint, waiting)
            said = outcome(refusal.phase, refusal.answer, tried.endpoint.host)
            if isinstance(said, Deferred):
                made.last |= dict.fromkeys(waiting, said)
                if tried.obeys and is_throttling(refusal.phase, refusal.answer):
                    _throttled(made, host, dict.fromkeys(waiting, said), early=refusal.phase in EARLY)
            break
        made.last |= result.elsewhere
        made.impossible |= result.impossible
        made.incapable.update([host] * bool(result.impossible))
        unsettled: dict[Recipient, Deferred | Bounced] = {**result.elsewhere, **result.impossible}
        elsewhere += unsettled
        made.failed.update((host, it.why) for it in unsettled.values())
        waiting = result.again
        if result.throttled:
            said = next(iter(result.throttled.values()))
            made.last |= dict.fromkeys(waiting, said)
            _throttled(made, host, dict.fromkeys(waiting, said) | result.throttled, early=False)
            break
        if tried.obeys and result.heard:
            made.throttles[host] = None
    made.left = elsewhere + waiting


def _throttled(made: Attempt, host: Host, said: dict[Recipient, Deferred], *, early: bool) -> None:
    made.throttled |= said
    made.throttles[host] = Throttle(next(iter(said.values())).why, early)


async def _transact(made: Attempt, tried: Tried, waiting: list[Recipient]) -> Result:
    """One transaction for as many of `waiting` as the host takes, on a kept connection or a fresh one.

    Refusal when there is none to be had. Those that are left are in `again`.
    """
    pool, endpoint = tried.pool, tried.endpoint
    connection = await pool.connection(endpoint, until=made.until)
    was_kept = connection.transactions > 0
    result = await _on(connection, tried, waiting)
    if was_kept and result.stale:
        # The host gave it up while it was idle (RFC 5321, 3.8), and has heard nothing of this message but MAIL: a fresh
        # connection at once can double nothing, and is no second attempt.
        pool.drop(connection)
        connection = await pool.connection(endpoint, until=made.until, fresh=True)
        result = await _on(connection, tried, waiting)
    made.outcomes |= result.outcomes  # first: the host may have the message, whatever fails from here on
    for extension in result.distrusted:
        pool.distrust(endpoint, extension)
    made.heard_from(endpoint, waiting)
    made.host, made.port, made.tls = endpoint.host, endpoint.port, connection.tls
    made.unreachable = made.unreachable and not result.heard
    pool.keep(connection, endpoint)
    return result


async def _on(connection: Connection, tried: Tried, waiting: list[Recipient]) -> Result:
    """One transaction on this connection, which is broken off when the attempt is."""
    most = min(tried.settings.recipients_per_transaction, connection.limits.recipients)
    try:
        result = await transact(
            connection, tried.entry, waiting[:most], tried.chunks, tried.settings, obeys=tried.obeys
        )
    except BaseException:
        tried.pool.drop(connection)
        raise
    result.again += waiting[most:]
    return result
