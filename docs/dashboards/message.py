"""From a slow or failed message to its log lines."""

from docs.dashboards.panel import SELECT, Dashboard, Logs, Panel, Query, one, quantiles, rate

_DELIVERED = 'outcome="delivered"'

MESSAGE = Dashboard(
    "message",
    "Jetpost / One message",
    "Each dot is a message with its queue id. Follow it by its log lines below, `jetpost queue show "
    "QUEUE_ID`, `jetpost events`.",
    [
        [
            Panel(
                "Acceptance: which messages were slow",
                "From the end of data to the 250; a dot's queue_id names the message.",
                "s",
                quantiles("jetpost_ingress_acceptance_seconds", 0.5, 0.99),
                exemplars=True,
            )
        ],
        [
            Panel(
                "Delivery: which messages were slow",
                "From acceptance to delivery; a dot's queue_id names the message.",
                "s",
                quantiles("jetpost_delivery_seconds", 0.5, 0.99),
                exemplars=True,
            )
        ],
        [
            Panel(
                "Attempts for each delivery",
                "1: every message is delivered at once.",
                "short",
                one(
                    f"{rate('jetpost_delivery_recipients_total')} / "
                    f"{rate('jetpost_delivery_recipients_total', where=_DELIVERED)}",
                    "attempts",
                ),
            ),
            Panel(
                "Recipients by outcome",
                "Recipients attempted.",
                "ops",
                [Query(rate("jetpost_delivery_recipients_total", by="outcome"), "{{outcome}}")],
                stacked=True,
            ),
        ],
    ],
    logs=[
        Logs(
            "Log lines of one message",
            "Log lines with the queue_id typed above or taken from a dot; without one, all.",
            # Loki wants a selector that not everything fits.
            f'{{namespace=~".+", {SELECT}}} |= "queue_id" |= "$queue_id"',
        )
    ],
    typed=["queue_id"],
)
