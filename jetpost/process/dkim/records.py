"""Whether the records in DNS fit the keys that sign: signatures of a key that does not match its record fail."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Self

from prometheus_client import Gauge

from jetpost.dns.answer import Answer, Failed, Found
from jetpost.dns.resolver import Dns, Resolver, servers_of
from jetpost.sign.keys import SigningKey
from jetpost.sign.record import Finding, finding, record_name
from jetpost.telemetry.log import logger

DIFFERS = Gauge(
    "jetpost_dkim_record_differs",
    "1 while DNS has no record that matches the key, by the last answer of DNS. Keys that wait for DNS are left out."
    " Labels: `domain`, `selector`.",
    ["domain", "selector"],
)
_AT_ONCE = 16
"""Keys about which DNS is asked at a time."""

log = logger(__name__)


async def compare_records(keys: Callable[[], Sequence[SigningKey]], dns: Dns, every_s: float) -> None:
    """Compare all `keys` with their records, for ever."""
    resolver = Resolver(dns)
    told: set[tuple[str, str]] = set()
    slots = asyncio.Semaphore(_AT_ONCE)

    async def compare(key: SigningKey) -> None:
        async with slots:
            judge(key, await resolver.txt(record_name(key.domain, key.selector)))

    try:
        while True:
            now = keys()
            await asyncio.gather(*map(compare, now))
            names = {(key.domain, key.selector) for key in now}
            for gone in told - names:
                DIFFERS.remove(*gone)
            told = names
            await asyncio.sleep(every_s)
    finally:
        await resolver.aclose()


def judge(key: SigningKey, answer: Answer[str]) -> None:
    """Tell what DNS says of a key. No answer changes nothing: nobody knows."""
    name = record_name(key.domain, key.selector)
    if isinstance(answer, Failed):
        log.warning("cannot look up DKIM record", record=name, error=answer.why, limited_by=(name, answer.why))
        return
    found = finding_of(key, answer)
    matches = found is Finding.MATCHES
    DIFFERS.labels(key.domain, key.selector).set(not matches)
    if not matches:
        log.warning("DKIM record does not match the key", record=name, finding=str(found), limited_by=(name, found))


def finding_of(key: SigningKey, answer: Found[str] | object) -> Finding:
    """What an answer that is none of `Failed` says of a key."""
    return finding(answer.records if isinstance(answer, Found) else (), key.private)


class EveryServer:
    """Asks each name server by itself while the block runs, and keeps no answer."""

    def __init__(self, dns: Dns) -> None:
        alone = {"cache_size": 0, "failure_ttl_s": 0}
        self._resolvers = {
            it: Resolver(dns.model_copy(update={"nameservers": (it,), **alone})) for it in servers_of(dns)
        }
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def findings(self, key: SigningKey) -> dict[str, Finding | Failed]:
        """What each server says of a key."""
        async with self._slots:
            name = record_name(key.domain, key.selector)
            answers = await asyncio.gather(*(resolver.txt(name) for resolver in self._resolvers.values()))
        return {
            server: answer if isinstance(answer, Failed) else finding_of(key, answer)
            for server, answer in zip(self._resolvers, answers, strict=True)
        }

    async def of_all(self, keys: Iterable[SigningKey]) -> list[dict[str, Finding | Failed]]:
        """The findings about each key."""
        return await asyncio.gather(*map(self.findings, keys))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(resolver.aclose() for resolver in self._resolvers.values()))


def is_shown(findings: Iterable[Finding | Failed]) -> bool | None:
    """Whether all name servers have a record that matches. None: one did not answer, and no other says no."""
    said = list(findings)
    if any(not isinstance(it, Failed) and it is not Finding.MATCHES for it in said):
        return False
    return None if not said or any(isinstance(it, Failed) for it in said) else True
