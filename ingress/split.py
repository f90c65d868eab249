"""One envelope into one for each destination: an entry is one message for one site."""

from collections.abc import Iterable

from msgspec.structs import replace

from jetpost.mail.address import domain_of
from jetpost.mail.envelope import Envelope, Recipient
from jetpost.queue.model.entry import Site, site_of

LEAST_INLINE_BYTES = 4096
"""So little travels with every entry: keeping it apart would cost as much."""


def by_site(envelope: Envelope) -> dict[Site, Envelope]:
    """The envelope's parts by site, in the order in which the sites were first named."""
    recipients: dict[Site, list[Recipient]] = {}
    for recipient in envelope.recipients:
        recipients.setdefault(site_of(domain_of(recipient.address)), []).append(recipient)
    if len(recipients) == 1:
        return dict.fromkeys(recipients, envelope)
    return {site: replace(envelope, recipients=tuple(theirs)) for site, theirs in recipients.items()}


def inline_share(domains: Iterable[str], inline_bytes: int) -> int:
    """Octets up to which a content travels with its entries, one for each of `domains`.

    They go to the disk in one commit, so what they carry in all is bounded by `inline_bytes`.
    """
    return max(inline_bytes // max(len(set(domains)), 1), LEAST_INLINE_BYTES)
