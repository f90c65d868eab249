"""An entry: one message for one site, and its form on the wire.

Subject `mail.<state>.<site>.<queue-id>`, header `Jetpost-Envelope` (the record, one line of JSON: everything but the
content), payload the content, or nothing when the content is kept by reference. A record that is too large for a header
(a thousand recipients, or what was said to them) stands in front of the payload instead, and the header
`Jetpost-Envelope-Octets` says how much of it is record.
"""

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NewType, Self
from zlib import crc32

import msgspec

from jetpost.mail.content import Content, Inline, Reference
from jetpost.mail.envelope import Envelope, Recipient
from jetpost.mail.outcome import Outcome
from jetpost.queue.states import MOVES, State

QueueId = NewType("QueueId", str)
"""Names a message in the queue and in every log line about it; parts and reports derive theirs from it."""

Site = NewType("Site", str)
"""The destination as one subject token: the recipient domain with dots as underscores."""

ENVELOPE_HEADER = "Jetpost-Envelope"
OCTETS_HEADER = "Jetpost-Envelope-Octets"
_MOST_IN_A_HEADER = 48 * 1024
"""nats-server takes 65 535 octets of headers in all, ours and its own (error 10097)."""
_PLAIN = re.compile(r"[a-z0-9-]")
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = tuple(first + second for first in _ALPHABET for second in _ALPHABET)
_SHIFTS = range(80, -1, -10)


@lru_cache(maxsize=8192)
def site_of(domain: str) -> Site:
    """The site of a recipient `domain` (A-labels, any case). Reversible by `domain_of`."""
    return Site(
        "".join(
            character if _PLAIN.match(character) else "_" if character == "." else f"={ord(character):02x}"
            for character in domain.lower()
        )
        or "=00"
    )


def domain_of(site: str) -> str:
    """The domain a `site` token stands for."""
    return re.sub(r"=([0-9a-f]{2,})", lambda found: chr(int(found[1], 16)), site.replace("_", ".")).strip("\0")


def fresh_queue_id(now: datetime, entropy: int) -> QueueId:
    """A queue id that sorts by time: 48 bits of milliseconds since 1970, then 42 bits of `entropy`."""
    number = (int(now.timestamp() * 1000) << 42) | (entropy & ((1 << 42) - 1))
    return QueueId("".join([_PAIRS[(number >> shift) & 1023] for shift in _SHIFTS]))


def is_entry(headers: Mapping[str, str]) -> bool:
    """Whether a stored message is an entry; otherwise it is a tombstone."""
    return ENVELOPE_HEADER in headers or OCTETS_HEADER in headers


def shard_of(queue_id: str, shards: int) -> int:
    """The shard that keeps a message: the same for all its entries, parts and reports."""
    return crc32(queue_id.partition("-")[0].encode()) % shards


class _Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """The JSON of the envelope header. New fields need defaults: older entries must stay readable."""

    envelope: Envelope
    arrived: datetime
    expires: datetime
    trace: str = ""
    attempts: int = 0
    attempted: datetime | None = None
    due: datetime | None = None
    failures: tuple[tuple[Recipient, Outcome], ...] = ()
    last: Outcome | None = None
    content_id: str = ""
    size: int = 0
    reason: str = ""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Record)


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One message for one site. Its state is its subject."""

    queue_id: QueueId
    site: Site
    state: State
    envelope: Envelope
    content: Content
    arrived: datetime
    """When the message was accepted (UTC)."""
    expires: datetime
    """When trying ends and the sender is told (RFC 5321, 4.5.4.1)."""
    trace: str = ""
    """Header lines of ours, CRLF each, that go above the untouched content (RFC 5321, 4.4)."""
    attempts: int = 0
    attempted: datetime | None = None
    """When the last attempt ended."""
    due: datetime | None = None
    """When a RETRY entry becomes READY."""
    failures: tuple[tuple[Recipient, Outcome], ...] = ()
    """What a BOUNCE entry reports."""
    last: Outcome | None = None
    """Why the entry was last deferred."""
    reason: str = ""
    """Why a HELD entry is held."""

    @property
    def domain(self) -> str:
        """The destination domain."""
        return domain_of(self.site)

    @property
    def subject(self) -> str:
        """Where the entry stands: `mail.<state>.<site>.<queue-id>`."""
        return f"mail.{self.state.value}.{self.site}.{self.queue_id}"

    @property
    def key(self) -> str:
        """The entry whatever its state: `mail.*.<site>.<queue-id>`."""
        return f"mail.*.{self.site}.{self.queue_id}"

    @property
    def size(self) -> int:
        """Octets of the content, CRLFs included."""
        return self.content.size

    def moved(self, state: State, **changes: Any) -> Self:
        """The successor of this entry in `state`; ValueError when no such move exists."""
        if state not in MOVES[self.state]:
            raise ValueError(f"no move from {self.state} to {state}")
        return msgspec.structs.replace(self, state=state, **changes)

    def part(self, suffix: str) -> Self:
        """The same entry under a key of its own, `<queue-id>-<suffix>`: a key never has two live entries."""
        return msgspec.structs.replace(self, queue_id=QueueId(f"{self.queue_id}-{suffix}"))

    def for_recipients(self, recipients: tuple[Recipient, ...]) -> Self:
        """The same entry for some of its recipients."""
        return msgspec.structs.replace(self, envelope=msgspec.structs.replace(self.envelope, recipients=recipients))

    @classmethod
    def fresh(
        cls,
        *,
        queue_id: QueueId,
        site: Site,
        envelope: Envelope,
        content: Content,
        trace: str,
        now: datetime,
        lifetime: timedelta,
    ) -> Self:
        """An entry just accepted at `now`, to be attempted at once."""
        return cls(
            queue_id=queue_id,
            site=site,
            state=State.READY,
            envelope=envelope,
            content=content,
            trace=trace,
            arrived=now,
            expires=now + lifetime,
        )

    def report_id(self) -> QueueId:
        """The queue id of the report about this entry: the same however often it is computed."""
        return QueueId(f"{self.queue_id}-d{hashlib.blake2s(self.site.encode(), digest_size=4).hexdigest()}")

    def message(self) -> tuple[dict[str, str], bytes]:
        """The headers and the payload under which the entry is stored; see `read`."""
        record, content = self.encode()
        octets = record.encode()
        if len(octets) <= _MOST_IN_A_HEADER:
            return {ENVELOPE_HEADER: record}, content
        return {OCTETS_HEADER: str(len(octets))}, octets + content

    @classmethod
    def read(cls, subject: str, headers: Mapping[str, str], payload: bytes) -> Self:
        """The entry of a stored message; ValueError when it is none of ours."""
        if OCTETS_HEADER not in headers:
            return cls.decode(subject, headers.get(ENVELOPE_HEADER, ""), payload)
        octets = int(headers[OCTETS_HEADER])
        return cls.decode(subject, payload[:octets], payload[octets:])

    def encode(self) -> tuple[str, bytes]:
        """The record as JSON, and the content when it is inline."""
        by_reference = isinstance(self.content, Reference)
        record = _Record(
            envelope=self.envelope,
            arrived=self.arrived,
            expires=self.expires,
            trace=self.trace,
            attempts=self.attempts,
            attempted=self.attempted,
            due=self.due,
            failures=self.failures,
            last=self.last,
            content_id=self.content.content_id if isinstance(self.content, Reference) else "",
            size=self.content.size if by_reference else 0,
            reason=self.reason,
        )
        payload = self.content.octets if isinstance(self.content, Inline) else b""
        return _encoder.encode(record).decode(), payload

    @classmethod
    def decode(cls, subject: str, encoded: str | bytes, content: bytes) -> Self:
        """The entry under `subject` with a record and an inline content; ValueError when it is none of ours."""
        try:
            _, state, site, queue_id = subject.split(".")
            record = _decoder.decode(encoded)
            return cls(
                queue_id=QueueId(queue_id),
                site=Site(site),
                state=State(state),
                envelope=record.envelope,
                content=Reference(record.content_id, record.size) if record.content_id else Inline(content),
                arrived=record.arrived,
                expires=record.expires,
                trace=record.trace,
                attempts=record.attempts,
                attempted=record.attempted,
                due=record.due,
                failures=record.failures,
                last=record.last,
                reason=record.reason,
            )
        except (ValueError, msgspec.MsgspecError) as error:
            raise ValueError(f"unreadable entry {subject}: {error}") from error
