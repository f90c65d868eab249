"""The DMARC policy of a domain, and which domains are aligned with it: the tree walk over DNS (RFC 9989, 4.10)."""

import asyncio
from enum import StrEnum
from typing import NamedTuple

from jetpost.dns.answer import Failed, Found, NoDomain
from jetpost.dns.resolver import Resolver
from jetpost.sender.dmarc.record import (
    Placed,
    Policy,
    ends_walk,
    governing,
    next_domain,
    only_record,
    organizational,
    policy_for,
)

PATIENCE_S = 20.0


class DmarcResult(StrEnum):
    """What DMARC says of a message."""

    NONE = "none"
    """No record applies."""
    PASS = "pass"  # noqa: S105 — a result
    FAIL = "fail"
    TEMPERROR = "temperror"


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


class Verdict(NamedTuple):
    """DMARC's verdict on a message of an author domain."""

    result: DmarcResult
    policy: Policy | None
    aligned_spf: bool
    aligned_dkim: bool
    why: str = ""


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
                if ends_walk(record):
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

    async def evaluate(
        self, author: str, *, spf: str = "", dkim: tuple[str, ...] = (), patience_s: float = PATIENCE_S
    ) -> Verdict:
        """DMARC for a message of `author`; `spf` is the domain that passed SPF, `dkim` those whose signatures pass."""
        try:
            async with asyncio.timeout(patience_s):
                return await self._evaluate(author, spf, dkim)
        except TimeoutError:
            why = f"DNS took more than {patience_s:g} s"
            return Verdict(DmarcResult.TEMPERROR, None, aligned_spf=False, aligned_dkim=False, why=why)

    async def _evaluate(self, author: str, spf: str, dkim: tuple[str, ...]) -> Verdict:
        discovery = await self.discover(author)
        placed = discovery.placed
        if placed is None:
            result = DmarcResult.TEMPERROR if discovery.trouble else DmarcResult.NONE
            why = discovery.trouble or f"no DMARC record applies to {author}"
            return Verdict(result, None, aligned_spf=False, aligned_dkim=False, why=why)
        by_spf = [await self.aligned(discovery, author, spf, strict=placed.record.strict_spf)] if spf else []
        by_dkim = [await self.aligned(discovery, author, it, strict=placed.record.strict_dkim) for it in dkim]
        if any(by_spf) or any(by_dkim):
            result = DmarcResult.PASS
        elif None in (*by_spf, *by_dkim) or discovery.policy is None:
            result = DmarcResult.TEMPERROR
        else:
            result = DmarcResult.FAIL
        why = discovery.trouble if result is DmarcResult.TEMPERROR else ""
        return Verdict(result, discovery.policy, any(by_spf), any(by_dkim), why)
