"""What is refused, counted by its reason: commands, messages, and connections.

Each is counted; the log has a line for a client and a reason now and then, with how many were left out.
"""

from prometheus_client import Counter

from ingress.policy.verdict import Refuse
from jetpost.telemetry.log import logger

REJECTIONS = Counter(
    "jetpost_ingress_rejections_total",
    "Refused commands, messages and connections. Labels: `reason` is one word.",
    ["reason"],
)

log = logger(__name__)


def connection_rejected(reason: str, *, client: str, listener: str, why: str) -> None:
    """A connection was rejected or ended: `why` is what it heard, or what happened."""
    REJECTIONS.labels(reason).inc()
    cause = (client, listener, reason)
    log.info("connection rejected", reason=reason, client=client, listener=listener, why=why, limited_by=cause)


def refused(refusal: Refuse, *, verb: str, client: str, listener: str, queue_id: str = "") -> None:
    """A command was refused; after DATA, the message that has the `queue_id`."""
    REJECTIONS.labels(refusal.reason).inc()
    log.info(
        "refused",
        queue_id=queue_id,
        verb=verb,
        reason=refusal.reason,
        reply=str(refusal.reply),
        client=client,
        listener=listener,
        limited_by=(client, listener, refusal.reason, "message" if queue_id else "command"),
    )
