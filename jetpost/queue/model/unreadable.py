"""A stored message that is no entry, or none that this version can read or handle. Pure.

It is a value like an entry, so nobody fails over it: it is moved to `held` with its payload as it was, and an operator
looks at it.
"""

import base64
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple, Self

from jetpost.queue.model.names import DomainToken, is_domain_token, is_queue_id
from jetpost.queue.model.states import State

REASON_HEADER = "Jetpost-Unreadable"
"""Why a held message could not be read or handled."""
SUBJECT_HEADER = "Jetpost-Unreadable-Subject"
"""Where it lay before."""
NOWHERE = DomainToken("=00")
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_LONGEST_REASON = 300
_LONGEST_SUBJECT = 1000


class Unreadable(NamedTuple):
    """What lies in the queue instead of an entry."""

    reason: str
    subject: str
    """As the stream has it; any text."""
    sequence: int
    headers: Mapping[str, str]
    payload: bytes
    since: datetime
    """When it came there."""

    @property
    def state(self) -> State | None:
        """The state that its subject names; None when there is no such state."""
        token = self._token(1)
        return State(token) if token in set(State) else None

    @property
    def domain_token(self) -> DomainToken | None:
        """The domain token of its subject, if it is one."""
        return DomainToken(self._token(2)) if is_domain_token(self._token(2)) else None

    @property
    def queue_id(self) -> str:
        """What operators call it: the queue id that its subject names, else `u<sequence>`."""
        return self._token(3) if self.has_key else f"u{self.sequence}"

    @property
    def why(self) -> str:
        """Why it is held, or why it cannot be read now."""
        return self.headers.get(REASON_HEADER) or self.reason

    @property
    def came_from(self) -> str:
        """The subject under which it was found."""
        return self.headers.get(SUBJECT_HEADER) or self.subject

    @property
    def has_key(self) -> bool:
        """Whether its subject is one that an entry could have."""
        return self.domain_token is not None and is_queue_id(self._token(3)) and self.subject.count(".") == 3

    @property
    def held_subject(self) -> str:
        """Where it is held: under its own key, else under one that follows from its sequence."""
        return f"mail.{State.HELD.value}.{self._key}"

    @property
    def key(self) -> str:
        """`mail.*.<domain>.<queue-id>`, with tokens that are legal whatever its subject is."""
        return f"mail.*.{self._key}"

    def held_headers(self) -> dict[str, str]:
        """Its headers, reason and origin added. Those of nats-server are orders, and are not repeated."""
        kept = {
            name: value
            for name, value in self.headers.items()
            if _HEADER_NAME.fullmatch(name) and not name.lower().startswith("nats-")
        }
        kept.setdefault(SUBJECT_HEADER, _ascii(self.subject, _LONGEST_SUBJECT))
        kept[REASON_HEADER] = _ascii(self.reason, _LONGEST_REASON)
        return kept

    def record(self) -> dict[str, object]:
        """For a backup; see `of`."""
        return {
            "reason": self.reason,
            "subject": self.subject,
            "sequence": self.sequence,
            "headers": dict(self.headers),
            "payload": base64.b64encode(self.payload).decode(),
            "since": self.since.isoformat(),
        }

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """What a backup has of it; the opposite of `record`."""
        return cls(
            record["reason"],
            record["subject"],
            int(record["sequence"]),
            record["headers"],
            base64.b64decode(record["payload"]),
            datetime.fromisoformat(record["since"]),
        )

    @property
    def _key(self) -> str:
        return f"{self.domain_token if self.has_key else NOWHERE}.{self.queue_id}"

    def _token(self, number: int) -> str:
        tokens = self.subject.split(".")
        return tokens[number] if number < len(tokens) else ""


def _ascii(text: str, longest: int) -> str:
    """One line of printable ASCII."""
    escaped = text.encode("ascii", "backslashreplace").decode()
    return "".join(it if " " <= it <= "~" else "?" for it in escaped)[:longest].strip()
