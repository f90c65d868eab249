"""What an operator may say about the queue."""

from typing import Annotated

from pydantic import Field

from jetpost.config.section import Section


class QueueSettings(Section):
    """The durable queue in JetStream."""

    shards: Annotated[int, Field(ge=1, le=64)] = 1
    """Streams the queue is spread over; each is one Raft leader and one disk. Raise it at any time; a number lower
    than that of a stream with mail in it is refused."""
    replicas: Annotated[int, Field(ge=1, le=5)] = 1
    """Servers that keep each entry. 3 in a cluster; 1 on one machine. A smaller number than an existing stream has is
    refused."""
    lifetime_s: Annotated[float, Field(ge=1)] = 5 * 86400
    """How long delivery is tried before the sender is told (RFC 5321, 4.5.4.1 asks for 4–5 days)."""
    inline_bytes: Annotated[int, Field(ge=1024, le=4 * 1024 * 1024)] = 256 * 1024
    """Messages up to this size travel with their entries; larger ones are kept once, beside the queue. A message for
    several domains has an entry for each, which share this."""
    max_bytes: Annotated[int, Field(ge=0)] = 0
    """Bytes of queued mail, large contents included, at which new mail is refused with 452 (mail already queued goes
    on). 0: only the server's own storage limit counts."""
    commit_timeout_s: Annotated[float, Field(gt=0)] = 10
    """How long an acceptance waits for the queue before the client hears 451."""
    ack_wait_s: Annotated[float, Field(ge=2)] = 60
    """After this long without a sign of life from the process that claimed it, an entry goes to another one."""
    quarantine_after: Annotated[int, Field(ge=2)] = 30
    """An entry claimed this often without an outcome is held: it probably kills whoever touches it."""
    store_protected: bool = False
    """Take nats-server 2.15.1 and 2.15.2 as well, which delete a stream when they cannot open one of its files at
    start. Set by `jetpost up`, which keeps links to the files; never set it yourself."""
    read_through_s: Annotated[float, Field(gt=0)] = 86400
    """How often every message of the queue is read, so that nats-server compares checksums with what is on the disk."""
    clock_tolerance_s: Annotated[float, Field(ge=1)] = 60
    """How far the clock of a process may be from the servers' time. Beyond that the process is not ready, accepts no
    mail, and gives none up for its age. One server is believed; of three, the one in the middle."""
    sweep_s: Annotated[float, Field(gt=0)] = 3600
    """How often the sweep looks for contents that no entry needs, which a crash left behind. A content is removed when
    two sweeps have found it unneeded."""
    sweep_age_s: Annotated[float, Field(gt=0)] = 86400
    """How long nothing was written to a content before the sweep may remove it. It must be longer than a session may
    last (`ingress.limits.session_s`). It must also be longer than a restore takes from a content to its entry."""
    allow_unsafe_durability: bool = False
    """Start although the server is too old, may acknowledge before fsync, or cannot be asked. Loud: a warning in the
    log and `jetpost_queue_unsafe` 1. Never in production."""
