"""Who may compute now: a few at once, and those who wait in turn by client."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Slots:
    """At most `at_once` at the same time. Clients that wait take turns, however much each of them asks for."""

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def slot(self, client: str) -> AsyncIterator[None]:
        """Hold one of the slots while the block runs."""
        if self._free:
            self._free -= 1
        else:
            await self._turn(client)
        try:
            yield
        finally:
            self._leave()

    async def _turn(self, client: str) -> None:
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():
                self._leave()
            raise

    def _leave(self) -> None:
        """Hand the slot to the client whose turn it is; it stands behind the others then."""
        while self._waiting:
            client = next(iter(self._waiting))
            theirs = self._waiting.pop(client)
            following = theirs.popleft()
            if theirs:
                self._waiting[client] = theirs
            if not following.done():
                following.set_result(None)
                return
        self._free += 1
