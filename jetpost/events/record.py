"""What can happen to a message: one union of records, as JSON lines.

A new field needs a default, a new kind a new tag: whoever follows the stream may be older than who writes it.
"""

from datetime import datetime
from typing import Any, assert_never

import msgspec

from jetpost.mail.envelope import Recipient
from jetpost.mail.outcome import Bounced as BouncedOutcome
from jetpost.mail.outcome import Deferred as DeferredOutcome
from jetpost.mail.outcome import Delivered as DeliveredOutcome
from jetpost.mail.outcome import Discarded as DiscardedOutcome
from jetpost.mail.outcome import Outcome
from jetpost.queue.model.entry import Entry


class _About(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", omit_defaults=True):
    """What every event says."""

    time: datetime
    queue_id: str
    domain: str
    reverse_path: str


class Received(_About, frozen=True, kw_only=True, tag="received"):
    """A message was accepted for one domain: it is on disk."""

    recipients: tuple[str, ...]
    size: int
    """Bytes of the content."""
    client_address: str = ""
    identity: str = ""
    listener: str = ""


class Delivered(_About, frozen=True, kw_only=True, tag="delivered"):
    """The next host took the message for a recipient."""

    recipient: str
    host: str
    reply: str
    attempts: int
    seconds: float
    """Since the message was accepted."""
    route: str = ""
    """The configured route, or its name and `/fallback`; empty: none applies."""
    port: int = 0
    """The port of `host`, if it is another than 25."""


class Discarded(_About, frozen=True, kw_only=True, tag="discarded"):
    """A route discards the message: nobody gets it, and nobody is told."""

    recipient: str
    why: str
    attempts: int
    route: str = ""


class _Failed(_About, frozen=True, kw_only=True):
    """What every event of a failed attempt says."""

    recipient: str
    status: str
    why: str
    attempts: int
    host: str = ""
    route: str = ""
    """The configured route, or its name and `/fallback`; empty: none applies."""
    port: int = 0
    """The port of `host`, if it is another than 25."""


class Deferred(_Failed, frozen=True, kw_only=True, tag="deferred"):
    """Not now; it will be tried again."""


class Bounced(_Failed, frozen=True, kw_only=True, tag="bounced"):
    """Never: the recipient or the message was refused for good."""


class Expired(_Failed, frozen=True, kw_only=True, tag="expired"):
    """It was deferred until its lifetime ended."""


class SenderWarned(_About, frozen=True, kw_only=True, tag="sender_warned"):
    """A message was accepted whose sender does not meet what large providers demand (`ingress.sender_check`)."""

    author: str
    """The domain in From; empty when there is none, or several."""
    faults: tuple[str, ...]
    """`no-author`, `several-authors`, `no-dmarc` or `not-authenticated`."""
    why: str = ""


Event = Received | Delivered | Discarded | Deferred | Bounced | Expired | SenderWarned

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Event)


def encode(event: Event) -> bytes:
    """The event as one line of JSON, without the line's end."""
    return _encoder.encode(event)


def decode(line: bytes) -> Event | None:
    """The event of a line; None when it is of a kind that this version does not know."""
    try:
        event: Event = _decoder.decode(line)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return event


def received(entry: Entry) -> Received:
    """The event of an acceptance."""
    origin = entry.envelope.origin
    return Received(
        time=entry.arrived,
        queue_id=entry.queue_id,
        domain=entry.domain,
        reverse_path=entry.envelope.reverse_path,
        recipients=tuple(recipient.address for recipient in entry.envelope.recipients),
        size=entry.size,
        client_address=origin.client_address,
        identity=origin.identity,
        listener=origin.listener,
    )


def sender_warned(entry: Entry, author: str, faults: tuple[str, ...], why: str) -> SenderWarned:
    """The event of an acceptance with faults of the sender."""
    return SenderWarned(
        time=entry.arrived,
        queue_id=entry.queue_id,
        domain=entry.domain,
        reverse_path=entry.envelope.reverse_path,
        author=author,
        faults=faults,
        why=why,
    )


def attempted(
    entry: Entry, recipient: Recipient, outcome: Outcome, now: datetime, route: str = "", port: int = 0
) -> Event:
    """The event of what an attempt at `entry` came to for one of its recipients, by `route` at `port` of the host."""
    about: dict[str, Any] = {
        "time": now,
        "queue_id": entry.queue_id,
        "domain": entry.domain,
        "reverse_path": entry.envelope.reverse_path,
        "recipient": recipient.address,
        "attempts": entry.attempts + 1,
        "host": outcome.host,
        "route": route,
        "port": port,
    }
    match outcome:
        case DeliveredOutcome(reply=reply):
            return Delivered(**about, reply=str(reply), seconds=max((now - entry.arrived).total_seconds(), 0))
        case DiscardedOutcome(why=why):
            del about["host"], about["port"]
            return Discarded(**about, why=why)
        case DeferredOutcome(status=status, why=why):
            return Deferred(**about, status=str(status), why=why)
        case BouncedOutcome(status=status, why=why, expired=True):
            return Expired(**about, status=str(status), why=why)
        case BouncedOutcome(status=status, why=why):
            return Bounced(**about, status=str(status), why=why)
        case unknown:
            assert_never(unknown)
