"""The entries of a message just accepted, one for each domain. Pure.

Whoever accepts a message makes its entries here: ingress, and the bouncer for what it says itself.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from msgspec.structs import replace

from jetpost.mail.address import domain_of
from jetpost.mail.content import Content
from jetpost.mail.envelope import Envelope, Recipient
from jetpost.mail.header import HeaderLine, text_of
from jetpost.queue.model.entry import DomainToken, Entry, QueueId, token_of


def entries_of(
    queue_id: QueueId,
    envelope: Envelope,
    content: Content,
    header: Iterable[HeaderLine],
    *,
    now: datetime,
    lifetime: timedelta,
) -> Iterator[Entry]:
    """The entries of a message accepted at `now`, made one at a time: a thousand take some ten milliseconds.

    `header` has the header lines that go above the content. Trying ends after `lifetime`.
    """
    trace = text_of(header)
    for token, part in by_domain(envelope).items():
        yield Entry.fresh(
            queue_id=queue_id,
            domain_token=token,
            envelope=part,
            content=content,
            trace=trace,
            now=now,
            lifetime=lifetime,
        )


def by_domain(envelope: Envelope) -> dict[DomainToken, Envelope]:
    """The envelope's parts by domain, in the order in which the domains were first named."""
    recipients: dict[DomainToken, list[Recipient]] = {}
    for recipient in envelope.recipients:
        recipients.setdefault(token_of(domain_of(recipient.address)), []).append(recipient)
    if len(recipients) == 1:
        return dict.fromkeys(recipients, envelope)
    return {token: replace(envelope, recipients=tuple(theirs)) for token, theirs in recipients.items()}
