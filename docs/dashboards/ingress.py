"""Who submits mail, what is refused, and who guesses passwords."""

from docs.dashboards.panel import SELECT, Dashboard, Panel, Query, alarm, one, quantiles, rate, total

_WEEK_S = 7 * 86400

INGRESS = Dashboard(
    "ingress",
    "Jetpost / Ingress and abuse",
    "Who submits mail, what is refused, and who guesses passwords.",
    [
        [
            Panel(
                "Sessions",
                "Begun a second, by listener.",
                "ops",
                one(rate("jetpost_ingress_sessions_total", by="listener"), "{{listener}}"),
            ),
            Panel(
                "Connections open",
                "Over all pods; ingress.limits.connections is the most for each.",
                "short",
                one(total("jetpost_ingress_connections"), "open"),
            ),
            Panel(
                "Accepted",
                "Messages answered with 250, by pod.",
                "ops",
                one(rate("jetpost_ingress_messages_accepted_total", by="pod"), "{{pod}}"),
                stacked=True,
            ),
        ],
        [
            Panel(
                "Refused",
                "Commands and messages, by reason. queue: JetStream is unavailable or full; relay: relaying denied.",
                "ops",
                one(rate("jetpost_ingress_rejections_total", by="reason"), "{{reason}}"),
            ),
            Panel(
                "AUTH",
                "AUTH exchanges by result. Many wrong ones: somebody guesses passwords.",
                "ops",
                one(rate("jetpost_ingress_auth_total", by="result"), "{{result}}"),
            ),
            Panel(
                "Load balancers without a PROXY header",
                "Connections closed because of that. The load balancer's health check must send the header, too.",
                "ops",
                one(rate("jetpost_ingress_proxy_failures_total"), "closed"),
            ),
        ],
        [
            Panel(
                "Time to the 250",
                "From the end of data; most of it is the fsync of the queue.",
                "s",
                quantiles("jetpost_ingress_acceptance_seconds"),
                exemplars=True,
            ),
            Panel("Size of messages", "As accepted.", "bytes", quantiles("jetpost_ingress_message_bytes", 0.5, 0.95)),
            Panel(
                "Certificate",
                "Time until the served certificate expires.",
                "s",
                [
                    Query(
                        f"min by (file) (jetpost_tls_certificate_expires_timestamp_seconds{{{SELECT}}}) - time()",
                        "{{file}}",
                    )
                ],
                kind="stat",
                thresholds=[
                    (0, "red"),
                    (alarm("certificate-expires"), "orange"),
                    (alarm("certificate-expires") + 2 * _WEEK_S, "green"),
                ],
            ),
        ],
    ],
)
