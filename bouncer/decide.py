"""Whether the sender gets a DSN about a failure, and about which recipients. Pure."""

from typing import NamedTuple

from jetpost.mail.envelope import Recipient
from jetpost.mail.outcome import Bounced
from jetpost.queue.model.entry import Entry


class Failure(NamedTuple):
    """One recipient that the DSN is about."""

    recipient: Recipient
    outcome: Bounced


class Dsn(NamedTuple):
    """A delivery status notification (RFC 3464) to the sender."""

    to: str
    failures: tuple[Failure, ...]


class NoDsn(NamedTuple):
    """No DSN is sent. `reason` is a word for the metrics."""

    reason: str


NULL_SENDER = NoDsn("null_reverse_path")
NOT_WANTED = NoDsn("notify_never")


def decide(entry: Entry) -> Dsn | NoDsn:
    """The DSN about the failures of a BOUNCE entry, or none.

    A DSN about a DSN would circle for ever: with a null reverse-path there is none (RFC 5321, 4.5.5). A recipient
    with NOTIFY without FAILURE is left out (RFC 3461, 5.2.1).
    """
    if not entry.envelope.reverse_path:
        return NULL_SENDER
    wanted = tuple(
        Failure(recipient, outcome)
        for recipient, outcome in entry.failures
        if isinstance(outcome, Bounced) and (not recipient.notify or "FAILURE" in recipient.notify)
    )
    return Dsn(entry.envelope.reverse_path, wanted) if wanted else NOT_WANTED
