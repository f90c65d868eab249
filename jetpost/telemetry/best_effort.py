"""What only tells of a stored step: it may fail, and the step stands all the same.

Between a commit and the 250, and between an outcome and its record, an exception would send a message a second time:
the client is not answered, or the entry is attempted again. So events, metrics and log lines are made in here.
"""

import contextlib
from types import TracebackType

from prometheus_client import Counter

from jetpost.reason import reason_of
from jetpost.telemetry.log import logger

FAILED = Counter(
    "jetpost_best_effort_failures_total",
    "Events, metrics, log lines and cleanups that failed; the step before them was stored. Labels: `what` is event, "
    "metric, log or cleanup.",
    ["what"],
)

log = logger(__name__)


class BestEffort:
    """`with BestEffort("event", queue_id):` an exception in the block is counted and logged, and goes no further.

    Cancellation does: it is no failure.
    """

    __slots__ = ("_queue_id", "_what")

    def __init__(self, what: str, queue_id: str) -> None:
        self._what = what
        self._queue_id = queue_id

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> bool:
        if not isinstance(error, Exception):
            return False
        FAILED.labels(self._what).inc()
        with contextlib.suppress(Exception):  # a log that fails may be what has failed
            cause = f"{type(error).__name__}: {reason_of(error)}"
            log.error("best-effort step failed", what=self._what, queue_id=self._queue_id, error=cause)
        return True
