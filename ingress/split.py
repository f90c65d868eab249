"""One envelope into one for each destination: an entry is one message for one domain."""

from collections.abc import Iterable

from msgspec.structs import replace

from jetpost.mail.address import domain_of
from jetpost.mail.envelope import Envelope, Recipient
from jetpost.queue.model.entry import DomainToken, token_of

LEAST_INLINE_BYTES = 4096
"""So little travels with every entry: keeping it apart would cost as much."""


def by_domain(envelope: Envelope) -> dict[DomainToken, Envelope]:
    """The envelope's parts by domain, in the order in which the domains were first named."""
    recipients: dict[DomainToken, list[Recipient]] = {}
    for recipient in envelope.recipients:
        recipients.setdefault(token_of(domain_of(recipient.address)), []).append(recipient)
    if len(recipients) == 1:
        return dict.fromkeys(recipients, envelope)
    return {token: replace(envelope, recipients=tuple(theirs)) for token, theirs in recipients.items()}


def inline_share(domains: Iterable[str], inline_bytes: int) -> int:
    """Octets up to which a content travels with its entries, one for each of `domains`.

    They go to the disk in one commit, so what they carry in all is bounded by `inline_bytes`.
    """
    return max(inline_bytes // max(len(set(domains)), 1), LEAST_INLINE_BYTES)
