"""Sender domains: what SPF, DMARC and the providers' demands come to, over real DNS."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from jetpost.dns.resolver import Dns, Resolver
from jetpost.sender.gate import Sending, standing
from jetpost.sender.spf.evaluate import check_host
from tests.fixtures.dmarc import verdict
from tests.fixtures.sender_zones import CASES
from tests.fixtures.zone import served


@asynccontextmanager
async def asking(case: str) -> AsyncIterator[Resolver]:
    async with served() as zone:
        for name, fields in CASES[case].zone.items():
            zone.add(name, **fields)
        resolver = Resolver(Dns(nameservers=(zone.address,), timeout_s=10, lifetime_s=20, failure_ttl_s=0))
        try:
            yield resolver
        finally:
            await resolver.aclose()


def test_there_are_enough() -> None:
    assert len(CASES) >= 60


@pytest.mark.parametrize("name", CASES)
async def test_verdicts(name: str) -> None:
    case = CASES[name]
    async with asking(name) as resolver:
        by_spf = await check_host(resolver, case.ip, case.mail_from)
        passed = case.mail_from if by_spf.result == "pass" else ""
        by_dmarc = await verdict(resolver, case.author, passed, case.dkim)
        found = await standing(resolver, Sending(case.author, case.mail_from, case.dkim, (case.ip,)))

    assert (by_spf.result, by_dmarc.result, by_dmarc.policy) == (case.spf, case.dmarc, case.policy), by_spf.why
    assert tuple([fault for fault, _ in found.faults]) == case.faults
    assert bool(found.unknown) == case.unknown, found.unknown
