"""What became of mail, by site: a bounded number of sites has a name of its own in the metrics."""

from prometheus_client import Counter

from jetpost.queue.model.entry import Site

RECIPIENTS = Counter(
    "jetpost_delivery_site_recipients_total",
    "Recipients attempted, by the site of their domain. Labels: `site` is one of the first 200 that this process met, "
    "or other; `outcome` is delivered, deferred, bounced or expired.",
    ["site", "outcome"],
)
_MOST = 200
"""Each site costs four time series in Prometheus; the big ones are met first."""
OTHER = "other"

_known: set[Site] = set()


def count(site: Site, outcome: str) -> None:
    """Count a recipient."""
    if site not in _known and len(_known) < _MOST:
        _known.add(site)
    RECIPIENTS.labels(site if site in _known else OTHER, outcome).inc()
