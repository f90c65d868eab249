"""Is mail flowing, and how long does it take?"""

from docs.dashboards.panel import RATE, SELECT, Dashboard, Panel, Query, alarm, highest, one, quantiles, rate

_OUTCOMES = rate("jetpost_delivery_recipients_total", by="outcome")

OVERVIEW = Dashboard(
    "overview",
    "Jetpost / Overview",
    "Is mail flowing, and how long does it take?",
    [
        [
            Panel(
                "Accepted",
                "Messages answered with 250, a second.",
                "ops",
                one(rate("jetpost_ingress_messages_accepted_total")),
                kind="stat",
            ),
            Panel(
                "Delivered",
                "Recipients whose host took the message, a second.",
                "ops",
                one(rate("jetpost_delivery_recipients_total", where='outcome="delivered"')),
                kind="stat",
            ),
            Panel(
                "Ready and waiting",
                "How long the first entry waits that no pod has taken yet; more delivery pods help while this grows.",
                "s",
                one(highest("jetpost_queue_waiting_seconds", where='state="ready"')),
                kind="stat",
                thresholds=[(60, "orange"), (alarm("mail-waits"), "red")],
            ),
            Panel(
                "Waiting for a retry",
                "Deferred entries that wait for their next attempt.",
                "short",
                one(highest("jetpost_queue_depth", where='state="retry"')),
                kind="stat",
            ),
            Panel(
                "Held",
                "Entries in quarantine or held by an operator. Look at each.",
                "short",
                one(highest("jetpost_queue_depth", where='state="held"')),
                kind="stat",
                thresholds=[(1, "red")],
            ),
            Panel(
                "Pods that answer",
                "By service.",
                "short",
                one(f'sum by (job) (up{{job=~"ingress|delivery|bouncer", {SELECT}}})', "{{job}}"),
                kind="stat",
            ),
        ],
        [
            Panel(
                "In and out",
                "Messages accepted and refused, recipients by outcome, a second.",
                "ops",
                [
                    Query(rate("jetpost_ingress_messages_accepted_total"), "accepted"),
                    Query(rate("jetpost_ingress_rejections_total"), "refused"),
                    Query(_OUTCOMES, "{{outcome}}"),
                ],
            ),
            Panel(
                "Time from acceptance to delivery",
                "Quantiles over all delivered recipients, retries included.",
                "s",
                quantiles("jetpost_delivery_seconds"),
                exemplars=True,
            ),
        ],
        [
            Panel(
                "Queue",
                "Entries by state.",
                "short",
                one(highest("jetpost_queue_depth", by="state"), "{{state}}"),
                stacked=True,
            ),
            Panel(
                "Oldest entry",
                "Time since it was accepted, by state.",
                "s",
                one(highest("jetpost_queue_oldest_seconds", by="state"), "{{state}}"),
            ),
        ],
        [
            Panel(
                "Processor",
                "Cores that each process uses; one is the most that an ingress or delivery pod can.",
                "short",
                one(f"rate(process_cpu_seconds_total{{{SELECT}}}{RATE})", "{{pod}}"),
            ),
            Panel(
                "Memory",
                "Resident memory of each process.",
                "bytes",
                one(f"process_resident_memory_bytes{{{SELECT}}}", "{{pod}}"),
            ),
        ],
    ],
)
