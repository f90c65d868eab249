"""What DNS and our keys say about the sender of a message: looked up once for a domain, and remembered for a while."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

from prometheus_client import Counter

from ingress.verify.sender_demands import Faults, SenderCheck, form_of
from jetpost.dns.resolver import Dns, Resolver
from jetpost.sender.gate import Fault, Sending, Standing, standing
from jetpost.sign.author import Authors
from jetpost.tasks import end

FAULTS = Counter(
    "jetpost_ingress_sender_faults_total",
    "Messages whose sender does not meet what large providers demand. Labels: `fault` is no-author, several-authors, "
    "no-dmarc, not-authenticated, or unknown (DNS did not answer); `action` is warn or refuse.",
    ["fault", "action"],
)
_UNKNOWN = "unknown"
_MOST_WHY = 500
"""Characters: some of it are the terms of a record in DNS."""


class SenderChecker:
    """Checks the senders of messages."""

    def __init__(
        self,
        settings: SenderCheck,
        resolver: Resolver,
        signs_for: Callable[[str], tuple[str, ...]],
        monotonic: Callable[[], float],
        *,
        hostname: str,
    ) -> None:
        """`signs_for` names the domains of the signatures that mail of an author domain gets; `hostname` is in EHLO."""
        self._settings = settings
        self._resolver = resolver
        self._signs_for = signs_for
        self._monotonic = monotonic
        self._hostname = hostname.lower()
        self._egress = tuple(map(str, settings.egress_addresses))
        self._known: OrderedDict[Sending, tuple[float, Standing]] = OrderedDict()
        self._flights: dict[Sending, asyncio.Task[Standing]] = {}
        for fault in ("no-author", "several-authors", *Fault, _UNKNOWN):
            FAULTS.labels(str(fault), settings.mode)

    @property
    def refuses(self) -> bool:
        """Whether faults refuse a message."""
        return self._settings.mode == "refuse"

    async def faults(self, authors: Authors, reverse_path: str) -> Faults:
        """What is wrong with the sender of a message; `reverse_path` is its domain. Within `timeout_s`."""
        found = form_of(authors)
        if found.author:
            # With the null reverse-path, receivers look at the name in EHLO (RFC 7208, 2.4).
            found = await self._judged(found.author, reverse_path or self._hostname)
        for fault in found.faults:
            FAULTS.labels(fault, self._settings.mode).inc()
        return found

    async def _judged(self, author: str, reverse_path: str) -> Faults:
        is_signed = any(f".{author}".endswith(f".{it}") for it in self._settings.signed_by_upstream)
        signs = (author,) if is_signed else self._signs_for(author)
        told = await self._standing(Sending(author, reverse_path, signs, self._egress))
        if told.unknown:
            FAULTS.labels(_UNKNOWN, self._settings.mode).inc()
        faults = tuple([str(fault) for fault, _ in told.faults])
        return Faults(author, faults, "; ".join([why for _, why in told.faults])[:_MOST_WHY])

    async def _standing(self, sending: Sending) -> Standing:
        kept = self._known.get(sending)
        if kept is not None and self._monotonic() < kept[0]:
            self._known.move_to_end(sending)
            return kept[1]
        flight = self._flights.get(sending)
        if flight is None:
            flight = asyncio.create_task(self._look(sending), name=f"sender {sending.author}")
            self._flights[sending] = flight
            flight.add_done_callback(partial(self._landed, sending))
        # Others may wait for the same answer: who is gone does not take it from them. It ends by itself.
        return await asyncio.shield(flight)

    async def _look(self, sending: Sending) -> Standing:
        settings = self._settings
        found = await standing(self._resolver, sending, patience_s=settings.timeout_s)
        ttl_s = settings.fault_ttl_s if found.faults or found.unknown else settings.ttl_s
        self._known[sending] = self._monotonic() + ttl_s, found
        self._known.move_to_end(sending)
        while len(self._known) > settings.cache_size:
            self._known.popitem(last=False)
        return found

    def _landed(self, sending: Sending, flight: asyncio.Task[Standing]) -> None:
        del self._flights[sending]
        if not flight.cancelled():
            flight.exception()  # whoever waits has it; perhaps nobody does any more

    async def aclose(self) -> None:
        """Give up what is under way."""
        await end(list(self._flights.values()))


@asynccontextmanager
async def sender_checker(
    settings: SenderCheck,
    dns: Dns,
    signs_for: Callable[[str], tuple[str, ...]],
    monotonic: Callable[[], float],
    *,
    hostname: str,
) -> AsyncIterator[SenderChecker]:
    """A checker while the block runs."""
    resolver = Resolver(dns)
    checker = SenderChecker(settings, resolver, signs_for, monotonic, hostname=hostname)
    try:
        yield checker
    finally:
        await checker.aclose()
        await resolver.aclose()
