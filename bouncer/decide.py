"""Whether a failure is reported, and about whom. Pure."""

from typing import NamedTuple

from jetpost.mail.envelope import Recipient
from jetpost.mail.outcome import Bounced
from jetpost.queue.model.entry import Entry


class Failure(NamedTuple):
    """One recipient that the report is about."""

    recipient: Recipient
    outcome: Bounced


class Report(NamedTuple):
    """The sender is told."""

    to: str
    failures: tuple[Failure, ...]


class Silence(NamedTuple):
    """Nobody is told. `reason` is a word for the metrics."""

    reason: str


NULL_SENDER = Silence("null_reverse_path")
NOT_WANTED = Silence("notify_never")


def decide(entry: Entry) -> Report | Silence:
    """Report the failures of a BOUNCE entry, or be silent.

    A report about a report would circle for ever: with a null reverse-path there is none (RFC 5321, 4.5.5). A recipient
    with NOTIFY without FAILURE is left out (RFC 3461, 5.2.1).
    """
    if not entry.envelope.reverse_path:
        return NULL_SENDER
    wanted = tuple(
        Failure(recipient, outcome)
        for recipient, outcome in entry.failures
        if isinstance(outcome, Bounced) and (not recipient.notify or "FAILURE" in recipient.notify)
    )
    return Report(entry.envelope.reverse_path, wanted) if wanted else NOT_WANTED
