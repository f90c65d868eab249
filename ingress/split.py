"""One envelope into one for each destination: an entry is one message for one site."""

from msgspec.structs import replace

from jetpost.mail.address import domain_of
from jetpost.mail.envelope import Envelope, Recipient
from jetpost.queue.entry import Site, site_of


def by_site(envelope: Envelope) -> dict[Site, Envelope]:
    """The envelope's parts by site, in the order in which the sites were first named."""
    recipients: dict[Site, list[Recipient]] = {}
    for recipient in envelope.recipients:
        recipients.setdefault(site_of(domain_of(recipient.address)), []).append(recipient)
    if len(recipients) == 1:
        return dict.fromkeys(recipients, envelope)
    return {site: replace(envelope, recipients=tuple(theirs)) for site, theirs in recipients.items()}
