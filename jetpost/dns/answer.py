"""What DNS said to one question, as values."""

from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class MxRecord(NamedTuple):
    """One MX record (RFC 5321, 5.1)."""

    preference: int
    """Lower is tried first."""
    exchange: str
    """The host's name in lower case without the final dot; "" is the root: the null MX (RFC 7505)."""


class Found(NamedTuple, Generic[T]):
    """There are such records, CNAMEs followed."""

    records: tuple[T, ...]
    """Sorted: their order in the answer means nothing."""
    ttl_s: float
    """The shortest TTL on the way to the records, when the answer was heard."""
    secure: bool = False
    """The name server vouches for DNSSEC validation (AD): worth as much as the path to that name server."""


class NoData(NamedTuple):
    """The name exists, but has no records of this type (NODATA; RFC 2308, 2.2)."""

    ttl_s: float
    secure: bool = False


class NoDomain(NamedTuple):
    """The name does not exist (NXDOMAIN; RFC 2308, 2.1), or never could: it is no domain name."""

    ttl_s: float
    secure: bool = False


class Failed(NamedTuple):
    """Nobody knows: ask again later. Never to be read as "there is none"."""

    why: str
    """For people: `SERVFAIL from 192.0.2.53@53`."""
    timed_out: bool = False
    """Nobody answered in time, as opposed to an answer that is no use."""


Answer = Found[T] | NoData | NoDomain | Failed
