"""An entry: one message for one domain, and its form on the wire.

Subject `mail.<state>.<domain>.<queue-id>`, header `Jetpost-Envelope` (the record, one line of JSON: everything but the
content), payload the content, or nothing when the content is kept by reference. A record that is too large for a header
(a thousand recipients, or what was said to them) stands in front of the payload instead, and the header
`Jetpost-Envelope-Octets` says how much of it is record.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Self

import msgspec

from jetpost.mail.content import Content, Inline, Reference
from jetpost.mail.envelope import Envelope, Recipient
from jetpost.mail.outcome import Outcome
from jetpost.queue.model.names import (
    BadName,
    DomainToken,
    QueueId,
    domain_of,
    dsn_id,
    fresh_queue_id,
    is_queue_id,
    shard_of,
    token_of,
)
from jetpost.queue.model.states import MOVES, State
from jetpost.queue.model.unreadable import REASON_HEADER
from jetpost.reason import reason_of

__all__ = (
    "NO_ENTRY",
    "DomainToken",
    "Entry",
    "QueueId",
    "domain_of",
    "fresh_queue_id",
    "is_entry",
    "shard_of",
    "stored_form",
    "token_of",
)

ENVELOPE_HEADER = "Jetpost-Envelope"
RECORD_BYTES_HEADER = "Jetpost-Envelope-Octets"
_MOST_IN_A_HEADER = 48 * 1024
"""nats-server takes 65 535 bytes of headers in all, ours and its own (error 10097)."""


NO_ENTRY = "unreadable entry: "
_LENGTH = re.compile(r"[0-9]{1,9}")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")

_Time = Annotated[datetime, msgspec.Meta(tz=True)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


def is_entry(headers: Mapping[str, str]) -> bool:
    """Whether a stored message is meant to be an entry."""
    return ENVELOPE_HEADER in headers or RECORD_BYTES_HEADER in headers


class _Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """The JSON of the envelope header. New fields need defaults: older entries must stay readable."""

    envelope: Envelope
    arrived: _Time
    expires: _Time
    trace: str = ""
    attempts: _Count = 0
    attempted: _Time | None = None
    due: _Time | None = None
    failures: tuple[tuple[Recipient, Outcome], ...] = ()
    last: Outcome | None = None
    content_id: str = ""
    size: _Count = 0
    reason: str = ""
    claims: _Count = 0
    throttled: _Count = 0


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Record)


def stored_form(record: str, content: bytes) -> tuple[dict[str, str], bytes]:
    """Headers and payload for a record and an inline content."""
    data = record.encode()
    if len(data) <= _MOST_IN_A_HEADER:
        return {ENVELOPE_HEADER: record}, content
    return {RECORD_BYTES_HEADER: str(len(data))}, data + content


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One message for one domain. Its state is its subject."""

    queue_id: QueueId
    domain_token: DomainToken
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
    """What a BOUNCE entry DSNs."""
    last: Outcome | None = None
    """Why the entry was last deferred."""
    reason: str = ""
    """Why a HELD entry is held."""
    claims: int = 0
    """How often it was claimed without an outcome before it was stored again as it is."""
    throttled: int = 0
    """Those of its `attempts` that ended because its route was throttled: they make no wait longer."""

    @property
    def domain(self) -> str:
        """The destination domain."""
        return domain_of(self.domain_token)

    @property
    def subject(self) -> str:
        """Where the entry stands: `mail.<state>.<domain>.<queue-id>`."""
        return f"mail.{self.state.value}.{self.domain_token}.{self.queue_id}"

    @property
    def key(self) -> str:
        """The entry whatever its state: `mail.*.<domain>.<queue-id>`."""
        return f"mail.*.{self.domain_token}.{self.queue_id}"

    @property
    def size(self) -> int:
        """Bytes of the content, CRLFs included."""
        return self.content.size

    def moved(self, state: State, **changes: Any) -> Self:
        """The successor of this entry in `state`; ValueError when no such move exists.

        Its claims are counted from none, unless `changes` says otherwise.
        """
        if state not in MOVES[self.state]:
            raise ValueError(f"no move from {self.state} to {state}")
        return msgspec.structs.replace(self, state=state, **{"claims": 0, **changes})

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
        domain_token: DomainToken,
        envelope: Envelope,
        content: Content,
        trace: str,
        now: datetime,
        lifetime: timedelta,
    ) -> Self:
        """An entry just accepted at `now`, to be attempted at once."""
        return cls(
            queue_id=queue_id,
            domain_token=domain_token,
            state=State.READY,
            envelope=envelope,
            content=content,
            trace=trace,
            arrived=now,
            expires=now + lifetime,
        )

    def dsn_id(self) -> QueueId:
        """The queue id of the DSN about this entry: the same however often it is computed."""
        return dsn_id(self.queue_id, self.domain_token)

    def message(self) -> tuple[dict[str, str], bytes]:
        """The headers and the payload under which the entry is stored; see `read`."""
        return stored_form(*self.encode())

    @classmethod
    def read(cls, subject: str, headers: Mapping[str, str], payload: bytes) -> Self:
        """The entry of a stored message; ValueError, and nothing else, when it is none of ours."""
        if (told := headers.get(RECORD_BYTES_HEADER)) is not None:
            if not _LENGTH.fullmatch(told) or int(told) > len(payload):
                raise ValueError(f"{NO_ENTRY}{RECORD_BYTES_HEADER} is {told[:20]!r}, the payload has {len(payload)}")
            entry = cls.decode(subject, payload[: int(told)], payload[int(told) :])
        elif (record := headers.get(ENVELOPE_HEADER)) is not None:
            entry = cls.decode(subject, record, payload)
        else:
            raise ValueError(f"{NO_ENTRY}it has no {ENVELOPE_HEADER}")
        if entry.state is State.HELD and not entry.reason and REASON_HEADER in headers:
            return msgspec.structs.replace(entry, reason=headers[REASON_HEADER])
        return entry

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
            claims=self.claims,
            throttled=self.throttled,
        )
        payload = self.content.data if isinstance(self.content, Inline) else b""
        return _encoder.encode(record).decode(), payload

    @classmethod
    def decode(cls, subject: str, encoded: str | bytes, content: bytes) -> Self:
        """The entry under `subject` with a record and an inline content.

        ValueError, whatever is wrong with it: who wrote it may have been another version, or nobody of ours.
        """
        try:
            _, state, domain_token, queue_id = subject.split(".")
            record = _decoder.decode(encoded)
            _insist_on_sense(domain_token, queue_id, record)
            return cls(
                queue_id=QueueId(queue_id),
                domain_token=DomainToken(domain_token),
                state=State(state),
                envelope=record.envelope,
                content=Reference(record.content_id, record.size) if record.content_id else Inline(content),
                arrived=_utc(record.arrived),
                expires=_utc(record.expires),
                trace=record.trace,
                attempts=record.attempts,
                attempted=record.attempted and _utc(record.attempted),
                due=record.due and _utc(record.due),
                failures=record.failures,
                last=record.last,
                reason=record.reason,
                claims=record.claims,
                throttled=record.throttled,
            )
        except Exception as error:  # RecursionError and OverflowError, too: any bytes may lie there
            raise ValueError(f"{NO_ENTRY}{reason_of(error)[:300]}") from error


def _insist_on_sense(domain_token: str, queue_id: str, record: _Record) -> None:
    """ValueError when there is nobody to deliver to, or a name that would not stay what it is."""
    domain_of(domain_token)
    if not is_queue_id(queue_id):
        raise BadName(f"{queue_id[:100]!r} is no queue id")
    if not record.envelope.recipients:
        raise ValueError("it has no recipient")
    if record.content_id and not is_queue_id(record.content_id):
        raise BadName(f"{record.content_id[:100]!r} is no content id")
    envelope = record.envelope
    said = [envelope.reverse_path, envelope.body, envelope.ret, envelope.envid]
    for recipient in envelope.recipients:
        said += (recipient.address, recipient.orcpt, *recipient.notify)
    if _CONTROLS.search("".join(said)):
        raise ValueError("a control character stands in its envelope")


def _utc(time: datetime) -> datetime:
    return time if time.tzinfo is UTC else time.astimezone(UTC)
