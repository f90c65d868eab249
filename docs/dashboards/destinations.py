"""Which destinations take mail, which do not, and what that costs."""

from docs.dashboards.panel import Dashboard, Panel, Query, alarm, one, quantiles, rate, total

_DEFERRED = 'outcome="deferred"'
_DOMAINS = "jetpost_delivery_domain_recipients_total"


def _top(outcome: str) -> str:
    chosen = rate(_DOMAINS, by="domain", where=f'outcome="{outcome}"')
    return f"topk(10, {chosen})"


DESTINATIONS = Dashboard(
    "destinations",
    "Jetpost / Destinations",
    "Which destinations take mail, which do not, and what that costs.",
    [
        [
            Panel(
                "Delivered",
                "The ten busiest domains, recipients a second.",
                "ops",
                one(_top("delivered"), "{{domain}}"),
            ),
            Panel(
                "Deferred",
                "The ten domains with the most deferrals.",
                "ops",
                one(_top("deferred"), "{{domain}}"),
            ),
            Panel(
                "Bounced",
                "The ten domains with the most bounces.",
                "ops",
                one(_top("bounced"), "{{domain}}"),
            ),
        ],
        [
            Panel(
                "Share deferred",
                "Share of the attempts at a domain. Near 1, the domain is down, greylists, or blocks us.",
                "percentunit",
                one(
                    f"topk(10, {rate(_DOMAINS, by='domain', where=_DEFERRED)} / {rate(_DOMAINS, by='domain')})",
                    "{{domain}}",
                ),
                kind="bargauge",
                thresholds=[(alarm("deferrals-are-high"), "orange"), (0.9, "red")],
            ),
            Panel(
                "Attempts",
                "Attempts by whether a host answered.",
                "ops",
                one(rate("jetpost_delivery_attempts_total", by="reached"), "reached: {{reached}}"),
            ),
            Panel(
                "Duration of an attempt",
                "From the first look-up to the last reply.",
                "s",
                quantiles("jetpost_delivery_attempt_seconds"),
            ),
        ],
        [
            Panel(
                "Entries in memory",
                "Entries being attempted, and those that wait in memory for a slot of their domain.",
                "short",
                [
                    Query(total("jetpost_delivery_active"), "being attempted"),
                    Query(total("jetpost_delivery_waiting"), "waiting for a slot"),
                    Query(total("jetpost_delivery_lanes"), "domains"),
                ],
            ),
            Panel(
                "Congestion",
                "Entries parked because their domain is congested; suspensions because no host answered.",
                "ops",
                [
                    Query(rate("jetpost_delivery_parked_total"), "parked"),
                    Query(rate("jetpost_delivery_suspensions_total"), "suspended"),
                    Query(rate("jetpost_delivery_naks_total"), "returned at shutdown"),
                ],
            ),
            Panel(
                "Connections",
                "Connections opened, by TLS; transactions on reused connections.",
                "ops",
                [
                    Query(rate("jetpost_delivery_connections_opened_total", by="tls"), "opened, TLS: {{tls}}"),
                    Query(rate("jetpost_delivery_connections_reused_total"), "reused"),
                ],
            ),
        ],
        [
            Panel(
                "Connections open",
                "To MX hosts, over all pods.",
                "short",
                one(total("jetpost_delivery_connections"), "open"),
            ),
            Panel(
                "DNS",
                "DNS queries by answer; queries answered from the cache.",
                "ops",
                [
                    Query(rate("jetpost_dns_lookups_total", by="answer"), "{{answer}}"),
                    Query(rate("jetpost_dns_cache_hits_total"), "from the cache"),
                ],
            ),
            Panel(
                "DNS, time to an answer", "Until a name server answered.", "s", quantiles("jetpost_dns_lookup_seconds")
            ),
        ],
    ],
)
