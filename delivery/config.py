"""The section `delivery`, assembled from its rooms."""

from typing import Annotated

from pydantic import AfterValidator, Field

from delivery.attempt.config import AttemptSettings
from delivery.connect.auth import usable
from delivery.retry import RetryPolicy
from delivery.route.plan import Routing
from delivery.route.rules import Rule, checked
from delivery.shaping.limits import LaneSettings
from delivery.shaping.throttles import Backoff
from jetpost.config.section import Section


class Delivery(Section):
    """The service that delivers mail."""

    retry: RetryPolicy = RetryPolicy()
    """When a deferred entry is tried again."""
    lanes: LaneSettings = LaneSettings()
    """What one process keeps in memory, in all and for each domain."""
    route: Routing = Routing()
    """How a domain becomes a list of hosts."""
    routes: Annotated[tuple[Rule, ...], AfterValidator(checked)] = ()
    """Which messages do not simply go to the MX hosts of their domain. The first route that matches counts. Mail that
    no route matches goes to its MX hosts."""
    backoff: Backoff = Backoff()
    """How a route obeys a host that throttles it (421, 454, "too many"). Its mail waits, and is not attempted."""
    attempt: AttemptSettings = AttemptSettings()
    """How one attempt is made: time-outs, TLS, connection reuse."""
    drain_s: Annotated[float, Field(ge=0)] = 60
    """Seconds a process may take to finish the attempts it has begun when it is told to stop. What it has not begun
    goes back to the queue at once."""
    watchdog_s: Annotated[float, Field(gt=0)] = 15
    """How often the watchdog looks for entries beyond their age, and for parked entries and retries that nobody
    takes up."""
    overdue_s: Annotated[float, Field(ge=0)] = 7200
    """How long a parked entry may be overdue before the watchdog expires it in the queue itself. It must be longer than
    an attempt that began in time may take (`attempt.timeouts`: `attempt_s` and `final_dot_s`). The time for its content
    is added."""
    retry_late_s: Annotated[float, Field(ge=1)] = 300
    """How long after a retry was due the watchdog begins it in the server's place. A server that comes back after an
    outage begins its own at once, so this is for what it has forgotten."""

    def faults(self) -> tuple[str, ...]:
        """What cannot work as it is: other routes work without these files."""
        return usable.faults(self.routes)

    def remarks(self) -> tuple[str, ...]:
        """What is no mistake, and still no good."""
        return usable.remarks(self.routes)
