"""Whether the records in DNS fit the keys that sign: signatures of a key that does not match its record fail."""

import asyncio

from prometheus_client import Gauge

from jetpost.dns.answer import Answer, Failed, Found
from jetpost.dns.resolver import Dns, Resolver
from jetpost.process.signing import Signer
from jetpost.sign.keys import SigningKey
from jetpost.sign.record import Finding, finding, record_name
from jetpost.telemetry.log import logger

DIFFERS = Gauge(
    "jetpost_dkim_record_differs",
    "1 while DNS has no record that matches the key, by the last answer of DNS. Labels: `domain`, `selector`.",
    ["domain", "selector"],
)

log = logger(__name__)


async def compare_records(signer: Signer, dns: Dns, every_s: float) -> None:
    """Compare all keys with their records, for ever."""
    resolver = Resolver(dns)
    try:
        while True:
            for key in signer.signing_keys():
                judge(key, await resolver.txt(record_name(key.domain, key.selector)))
            await asyncio.sleep(every_s)
    finally:
        await resolver.aclose()


def judge(key: SigningKey, answer: Answer[str]) -> None:
    """Tell what DNS says of a key. No answer changes nothing: nobody knows."""
    name = record_name(key.domain, key.selector)
    if isinstance(answer, Failed):
        log.warning("cannot look up DKIM record", record=name, error=answer.why, limited_by=(name, answer.why))
        return
    found = finding(answer.records if isinstance(answer, Found) else (), key.private)
    matches = found is Finding.MATCHES
    DIFFERS.labels(key.domain, key.selector).set(not matches)
    if not matches:
        log.warning("DKIM record does not match the key", record=name, finding=str(found), limited_by=(name, found))
