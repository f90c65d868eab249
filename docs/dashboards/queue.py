"""Does the queue keep up, and are the nats-servers healthy?"""

from docs.dashboards.panel import SELECT, Dashboard, Panel, Query, alarm, highest, one, quantiles, rate, total

QUEUE = Dashboard(
    "queue",
    "Jetpost / Queue and NATS",
    "Does the queue keep up, and are the nats-servers healthy?",
    [
        [
            Panel(
                "Servers",
                "Whether each nats-server answers at its monitoring URL.",
                "none",
                one(highest("jetpost_nats_server_up", by="server"), "{{server}}"),
                kind="stat",
                thresholds=[(0, "red"), (1, "green")],
            ),
            Panel(
                "Copies behind",
                "Copies of the queue's streams that are offline or have not caught up.",
                "short",
                one(highest("jetpost_queue_replicas_behind")),
                kind="stat",
                thresholds=[(1, "orange")],
            ),
            Panel(
                "Durability",
                "1: Jetpost runs although it could not verify that accepted mail is fsynced.",
                "none",
                one(highest("jetpost_queue_unsafe")),
                kind="stat",
                thresholds=[(1, "red")],
            ),
            Panel(
                "Storage",
                "Used share of each nats-server's storage limit.",
                "percentunit",
                one(
                    f"{highest('jetpost_nats_server_storage_bytes', by='server')} / "
                    f"{highest('jetpost_nats_server_storage_limit_bytes', by='server')}",
                    "{{server}}",
                ),
                kind="bargauge",
                thresholds=[(0.7, "orange"), (alarm("storage-fills"), "red")],
            ),
            Panel("Queued", "Bytes that the streams hold.", "bytes", one(highest("jetpost_queue_bytes")), kind="stat"),
        ],
        [
            Panel(
                "Commits",
                "Atomic batches by result.",
                "ops",
                one(rate("jetpost_queue_commits_total", by="result"), "{{result}}"),
            ),
            Panel(
                "Time of a commit",
                "From the first byte of a batch to its acknowledgement after fsync.",
                "s",
                quantiles("jetpost_queue_commit_seconds"),
                thresholds=[(0.1, "orange")],
            ),
            Panel(
                "Entries in a batch",
                "Large batches under load show that group commit works.",
                "short",
                quantiles("jetpost_queue_commit_batch_entries", 0.5, 0.95),
            ),
        ],
        [
            Panel(
                "Moves",
                "Moves of entries, by new state.",
                "ops",
                one(rate("jetpost_queue_moves_total", by="state"), "to {{state}}"),
            ),
            Panel(
                "Claims",
                "Entries that processes have claimed, by state.",
                "short",
                one(total("jetpost_queue_claims", by="state"), "{{state}}"),
            ),
            Panel(
                "DSNs",
                "Delivery status notifications queued.",
                "ops",
                one(rate("jetpost_bouncer_dsns_total"), "DSNs"),
            ),
        ],
        [
            Panel(
                "Connections to NATS",
                "Connected pods, reconnections, restarted pulls.",
                "short",
                [
                    Query(total("jetpost_nats_connected"), "connected"),
                    Query(f"sum (increase(jetpost_nats_reconnects_total{{{SELECT}}}[5m]))", "reconnects in 5 min"),
                    Query(
                        f"sum (increase(jetpost_queue_pulls_restarted_total{{{SELECT}}}[5m]))",
                        "pulls restarted in 5 min",
                    ),
                ],
            ),
            Panel(
                "Events",
                "Events published, and events dropped because the stream could not take them.",
                "ops",
                [
                    Query(rate("jetpost_events_total"), "told"),
                    Query(rate("jetpost_events_dropped_total"), "dropped"),
                ],
            ),
            Panel(
                "Event loops",
                "How late they run timers. A high value means that something blocks a process.",
                "s",
                quantiles("jetpost_process_loop_lag_seconds", 0.5, 0.99),
                thresholds=[(alarm("event-loop-is-blocked"), "red")],
            ),
        ],
    ],
)
