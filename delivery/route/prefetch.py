"""DNS answers for entries that wait: their attempts begin with the cache, and hold no connection slot meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable

from prometheus_client import Counter

from jetpost.tasks import end

PREFETCHED = Counter(
    "jetpost_delivery_dns_prefetched_total",
    "Domains looked up in DNS while their first entry waited for a connection of the process or of its route.",
)
_MOST = 64
"""Look-ups ahead at the same time: a quarter of `dns.lookups_max`, so that attempts do not wait for them."""


class Prefetch:
    """Looks up the hosts of domains ahead. `look_up` asks for what an attempt at the domain would ask, and drops it."""

    def __init__(self, look_up: Callable[[str], Awaitable[object]]) -> None:
        self._look_up = look_up
        self._under_way: dict[str, asyncio.Task[None]] = {}

    def begin(self, domain: str) -> None:
        """Look `domain` up, unless that is being done or many others are: the attempt asks in any case."""
        if domain in self._under_way or len(self._under_way) >= _MOST:
            return
        PREFETCHED.inc()
        task = self._under_way[domain] = asyncio.create_task(self._ask(domain), name=f"prefetch {domain}")
        task.add_done_callback(lambda _: self._under_way.pop(domain, None))

    async def aclose(self) -> None:
        """Give up what is under way."""
        await end(list(self._under_way.values()))

    async def _ask(self, domain: str) -> None:
        await self._look_up(domain)
