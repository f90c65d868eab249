"""Whether mail of a From domain meets what providers demand, as far as DNS and our keys tell."""

import asyncio
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from jetpost.dns.resolver import Resolver
from jetpost.sender.dmarc.discovery import Discovery, Dmarc
from jetpost.sender.spf.evaluate import PATIENCE_S, check_host
from jetpost.sender.spf.record import Result


class Fault(StrEnum):
    """A demand that is not met."""

    NO_DMARC = "no-dmarc"
    """No DMARC record applies to the From domain."""
    NOT_AUTHENTICATED = "not-authenticated"
    """No signature is aligned with the From domain, and SPF does not pass for it either."""


class Standing(NamedTuple):
    """What was found about a From domain."""

    faults: tuple[tuple[Fault, str], ...] = ()
    """Each with the reason, for people."""
    unknown: str = ""
    """Why something could not be found out. What is unknown is no fault."""
    aligned_dkim: bool = False
    aligned_spf: bool = False


class Sending(NamedTuple):
    """How mail of a From domain leaves."""

    author: str
    """The From domain, in lower case with A-labels."""
    reverse_path: str
    """The domain of the reverse-path; "" for the null reverse-path, for which nothing is aligned by SPF."""
    signs: tuple[str, ...]
    """The domains (`d=`) of the signatures that it will have."""
    egress: tuple[str, ...]
    """The IP addresses that it leaves from. SPF must pass for each of them. Empty: SPF counts for nothing."""


async def standing(resolver: Resolver, sending: Sending, *, patience_s: float = PATIENCE_S) -> Standing:
    """How a From domain stands with receivers; within `patience_s`."""
    try:
        async with asyncio.timeout(patience_s):
            return await _standing(resolver, sending, patience_s)
    except TimeoutError:
        return Standing(unknown=f"DNS took more than {patience_s:g} s")


async def _standing(resolver: Resolver, sending: Sending, patience_s: float) -> Standing:
    dmarc = Dmarc(resolver)
    discovery = await dmarc.discover(sending.author)
    if discovery.placed is None and discovery.trouble:
        return Standing(unknown=discovery.trouble)
    by_dkim = await _by_dkim(dmarc, discovery, sending)
    by_spf, spf_why = (False, "") if by_dkim else await _by_spf(resolver, dmarc, discovery, sending, patience_s)
    faults: list[tuple[Fault, str]] = []
    if discovery.placed is None:
        faults.append((Fault.NO_DMARC, f"no DMARC record applies to {sending.author}"))
    if by_dkim is False and by_spf is False:
        faults.append((Fault.NOT_AUTHENTICATED, f"no key here signs for {sending.author}, and {spf_why}"))
    unknown = "" if by_dkim or by_spf or None not in (by_dkim, by_spf) else discovery.trouble or spf_why
    return Standing(tuple(faults), unknown, aligned_dkim=by_dkim is True, aligned_spf=by_spf is True)


async def _by_dkim(dmarc: Dmarc, discovery: Discovery, sending: Sending) -> bool | None:
    strict = discovery.placed is not None and discovery.placed.record.strict_dkim
    found = [await dmarc.aligned(discovery, sending.author, it, strict=strict) for it in dict.fromkeys(sending.signs)]
    return _any(found)


async def _by_spf(
    resolver: Resolver, dmarc: Dmarc, discovery: Discovery, sending: Sending, patience_s: float
) -> tuple[bool | None, str]:
    """Whether SPF passes and is aligned, for every address that mail leaves from; None when nobody knows."""
    domain = sending.reverse_path
    if not sending.egress:
        return False, "no egress address is configured that SPF could allow"
    if not domain:
        return False, "the reverse-path is empty, so SPF is not aligned"
    strict = discovery.placed is not None and discovery.placed.record.strict_spf
    aligned = await dmarc.aligned(discovery, sending.author, domain, strict=strict)
    if not aligned:
        return aligned, f"the reverse-path domain {domain} is not aligned with it"
    asking = [check_host(resolver, address, domain, patience_s=patience_s) for address in sending.egress]
    verdicts = list(zip(sending.egress, await asyncio.gather(*asking), strict=True))
    failing = [(address, it) for address, it in verdicts if it.result is not Result.PASS]
    for address, it in failing:
        if it.result is not Result.TEMPERROR:
            return False, f"SPF of {domain} says {it.result} to {address}: {it.why}"
    return (None, failing[0][1].why) if failing else (True, "")


def _any(found: Sequence[bool | None]) -> bool | None:
    if any(found):
        return True
    return None if None in found else False
