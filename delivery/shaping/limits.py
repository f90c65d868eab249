"""How much of what a lane may hold, and what that means for the next entry. Pure."""

from enum import StrEnum
from typing import Annotated, NamedTuple

from pydantic import Field

from jetpost.config.section import Section


class LaneSettings(Section):
    """What one delivery process keeps in memory, in all and for each domain."""

    connections_per_domain: Annotated[int, Field(ge=1)] = 20
    """Attempts at the same time for one domain, once it has shown that it takes mail."""
    first_connections: Annotated[int, Field(ge=1)] = 5
    """Attempts at the same time for a domain that has not taken a message yet; each success allows one more."""
    connections: Annotated[int, Field(ge=1)] = 1000
    """Attempts at the same time in all, each with a connection at most; idle connections count as well and make way for
    attempts. Where the process may not open so many files (`ulimit -Hn`), fewer. What has to wait for its turn waits in
    memory: each domain in turn gets the next free one."""
    waiting_per_domain: Annotated[int, Field(ge=0)] = 1000
    """Entries that may wait in memory for one domain; what is beyond is parked in the queue."""
    claims: Annotated[int, Field(ge=1)] = 10_000
    """Entries in memory in all. From half of it on, nothing waits in memory for a busy domain."""
    claimed_bytes: Annotated[int, Field(ge=1024 * 1024)] = 128 * 1024 * 1024
    """Bytes of entries in memory in all; a quarter of it is for entries that were parked."""
    failures_to_suspend: Annotated[int, Field(ge=1)] = 5
    """Attempts in a row that reach no host of a domain before it is left alone for `suspend_s`."""
    suspend_s: Annotated[float, Field(ge=0)] = 60
    """How long an unreachable domain's entries are deferred without an attempt."""

    @property
    def parked_bytes(self) -> int:
        """What parked entries that were taken back may have of `claimed_bytes`, of all domains together."""
        return self.claimed_bytes // 4

    @property
    def ready_bytes(self) -> int:
        """The rest of it."""
        return self.claimed_bytes - self.parked_bytes


_SHARE_OF_FILES = 2
_OTHER_FILES = 400
"""What is open beside connections to MX hosts: look-ups under way, NATS, HTTP, logs, libraries."""


def affordable(connections: int, files: int) -> int:
    """How many of the `connections` wanted a process that may open `files` files can have; at least one."""
    return max(min(connections, max(files - _OTHER_FILES, files // _SHARE_OF_FILES)), 1)


def is_near_quarantine(times_claimed: int, quarantine_after: int) -> bool:
    """Whether an entry was returned so often (NAK) that it might end in quarantine for no fault of its own."""
    return times_claimed * 2 > quarantine_after


class Load(NamedTuple):
    """What a lane and the process have claimed."""

    active: int
    """Attempts under way for the domain."""
    waiting: int
    """Entries waiting in memory for the domain."""
    allowed: int
    """Attempts the domain may have at a time now."""
    claims: int
    """Entries in memory in all."""


class Admission(StrEnum):
    """What happens to the next entry of a domain."""

    WAIT = "wait"
    """It stays in memory; at once, when a slot is free."""
    PARK = "park"
    """It goes back to the queue as PARKED: the domain must not cost the others memory."""


def admit(load: Load, settings: LaneSettings) -> Admission:
    """Whether the next entry of a domain may stay in memory."""
    if load.active + load.waiting < load.allowed:
        return Admission.WAIT
    if load.waiting >= settings.waiting_per_domain or load.claims * 2 >= settings.claims:
        return Admission.PARK
    return Admission.WAIT
