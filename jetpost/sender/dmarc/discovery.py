"""The DMARC policy of a domain, and which domains are aligned with it: the tree walk over DNS (RFC 9989, 4.10)."""

from typing import NamedTuple

from jetpost.dns.answer import Failed, Found, NoDomain
from jetpost.dns.resolver import Resolver
from jetpost.sender.dmarc.record import (
    Placed,
    Policy,
    governing,
    next_domain,
    only_record,
    organizational,
    policy_for,
)


class Walk(NamedTuple):
    """The records from a domain up."""

    found: tuple[Placed, ...]
    """The longest domain first."""
    trouble: str = ""
    """Why the walk did not come to its end: a look-up failed."""


class Discovery(NamedTuple):
    """What applies to an author domain."""

    placed: Placed | None
    """The record; None when there is none, or `trouble` hides it."""
    policy: Policy | None
    """The policy for the domain; None when no record applies."""
    organizational: str
    """"" when `trouble` hides it."""
    trouble: str = ""


class Dmarc:
    """Discovers policies. The resolver's cache answers what several walks ask."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    async def walk(self, domain: str) -> Walk:
        """The records from `domain` up, in eight questions at most. It ends at a failed look-up."""
        found: list[Placed] = []
        while domain:
            answer = await self._resolver.txt(f"_dmarc.{domain}")
            if isinstance(answer, Failed):
                return Walk(tuple(found), f"TXT of _dmarc.{domain}: {answer.why}")
            record = only_record(answer.records) if isinstance(answer, Found) else None
            if record is not None:
                found.append(Placed(domain, record))
                if record.is_psd is not None:  # nothing above counts
                    break
            domain = next_domain(domain)
        return Walk(tuple(found))

    async def discover(self, domain: str) -> Discovery:
        """The record and the policy for the author `domain` (4.10.1). A record of its own counts whatever is above."""
        found, trouble = await self.walk(domain)
        own = found[0] if found and found[0].domain == domain else None
        if trouble and own is None:
            return Discovery(None, None, "", trouble)
        placed = own or governing(domain, found)
        if placed is None:
            return Discovery(None, None, organizational(domain, found))
        above = "" if trouble else organizational(domain, found)
        exists = True
        if own is None and placed.record.of_missing is not None:
            answer = await self._resolver.a(domain)
            if isinstance(answer, Failed):
                return Discovery(placed, None, above, f"A of {domain}: {answer.why}")
            exists = not isinstance(answer, NoDomain)
        policy = policy_for(domain, placed, exists=exists)
        if policy is None:  # whatever is above: this record governs, and has no effect
            return Discovery(None, None, above)
        return Discovery(placed, policy, above, trouble)

    async def aligned(self, discovery: Discovery, author: str, domain: str, *, strict: bool) -> bool | None:
        """Whether `domain` is aligned with the author's (3.2.10); None when a failed look-up hides it."""
        if domain == author:
            return True
        if strict or domain.rpartition(".")[2] != author.rpartition(".")[2]:
            return False
        if not discovery.organizational:
            return None
        if domain != discovery.organizational and not domain.endswith(f".{discovery.organizational}"):
            return False
        found, trouble = await self.walk(domain)
        return None if trouble else organizational(domain, found) == discovery.organizational
