"""Outcomes of recipients by domain, for the metrics. The number of domains with a label of their own is bounded."""

from prometheus_client import Counter

from jetpost.queue.model.entry import DomainToken, domain_of

RECIPIENTS = Counter(
    "jetpost_delivery_domain_recipients_total",
    "Recipients attempted, by recipient domain. Labels: `domain` is one of the first 200 of this process, or other; "
    "`outcome` is delivered, deferred, bounced or expired.",
    ["domain", "outcome"],
)
_MOST = 200
"""Each domain costs four time series in Prometheus; the big ones are met first."""
OTHER = "other"

_labels: dict[DomainToken, str] = {}


def count(domain_token: DomainToken, outcome: str) -> None:
    """Count a recipient."""
    label = _labels.get(domain_token, OTHER)
    if label is OTHER and len(_labels) < _MOST:
        label = _labels[domain_token] = label_of(domain_token)
    RECIPIENTS.labels(label, outcome).inc()


def label_of(domain_token: DomainToken) -> str:
    """The domain; its token when a character of the domain cannot stand in a metric or a log line."""
    domain = domain_of(domain_token)
    return domain if domain and domain.isascii() and domain.isprintable() else domain_token
