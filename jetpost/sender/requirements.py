"""What large mailbox providers demand of senders: from the providers' own pages, as of `AS_OF`. Pure.

Edit this table and its date when a provider changes. Gmail: "Email sender guidelines"
(support.google.com/a/answer/81126). Yahoo: "Sender Requirements & Recommendations"
(senders.yahooinc.com/best-practices). Microsoft: "Strengthening Email Ecosystem: Outlook's New Requirements for
High-Volume Senders", and the page of the error 550 5.7.515.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

AS_OF = "2026-11-27"


class Demand(StrEnum):
    """One demand."""

    SPF_OR_DKIM = "SPF or DKIM passes"
    SPF_AND_DKIM = "SPF and DKIM pass"
    DMARC_RECORD = "the From domain has a DMARC record, at least `p=none`"
    ALIGNED = "SPF or DKIM is aligned with the From domain, so that DMARC passes"
    REVERSE_DNS = "the egress address has a PTR record, and its name resolves to that address"
    TLS = "the connection uses TLS"
    ONE_CLICK = "marketing mail has one-click unsubscribe (RFC 8058)"
    FORM = "the message has the form of RFC 5322: one From field, one Date, one Message-ID"


class Provider(NamedTuple):
    """What one provider demands."""

    of_all: frozenset[Demand]
    """Of every sender."""
    of_bulk: frozenset[Demand]
    """Of bulk senders besides."""
    bulk_per_day: int | None
    """Messages a day to this provider that make a bulk sender. None: the provider publishes no number."""
    refusal: str
    """How the provider begins the reply to mail that does not meet its demands."""


_BULK = frozenset({Demand.SPF_AND_DKIM, Demand.DMARC_RECORD, Demand.ALIGNED})

PROVIDERS: Mapping[str, Provider] = {
    "Gmail": Provider(
        frozenset({Demand.SPF_OR_DKIM, Demand.REVERSE_DNS, Demand.TLS, Demand.FORM}),
        _BULK | {Demand.ONE_CLICK},
        5000,
        "550-5.7.26",
    ),
    "Yahoo": Provider(
        frozenset({Demand.SPF_OR_DKIM, Demand.REVERSE_DNS, Demand.FORM}),
        _BULK | {Demand.ONE_CLICK},
        None,
        "554 5.7.9",
    ),
    # One-click unsubscribe is a recommendation of Microsoft, and no demand.
    "Microsoft": Provider(frozenset(), _BULK, 5000, "550 5.7.515"),
}


def demanded_by(demand: Demand) -> str:
    """Who makes a demand, for people: `Gmail, Yahoo; of bulk senders Microsoft`. Empty: nobody."""
    of_all = [name for name, provider in PROVIDERS.items() if demand in provider.of_all]
    of_bulk = [name for name, provider in PROVIDERS.items() if demand in provider.of_bulk and name not in of_all]
    parts = [", ".join(of_all), f"of bulk senders {', '.join(of_bulk)}" if of_bulk else ""]
    return "; ".join(part for part in parts if part)
