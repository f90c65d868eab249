"""Turns: whoever has more to do than one turn allows waits for the next, behind all who wait already."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable

_PASS_S = 0.001
"""How long the turns of one pass through the event loop may take together; the last one begun is finished."""


class Turns:
    """Who waits gets a turn in order, `most` in each pass through the event loop and no more than fit into a time.

    Between two passes the loop serves its sockets. So however many wait, and however much they have sent, a client
    that sends little is answered after one pass.
    """

    def __init__(self, most: int = 1_000_000) -> None:
        self._most = most
        self._waiting: deque[Callable[[], object]] = deque()
        self._is_scheduled = False
        self._began_at = -math.inf

    def is_free(self) -> bool:
        """Whether a turn may begin at once: nobody waits, and none has begun in this pass. Then this one has."""
        # The time of the loop stands still during a pass (uvloop).
        now = asyncio.get_running_loop().time()
        if self._waiting or now == self._began_at:
            return False
        self._began_at = now
        return True

    def wait(self, go_on: Callable[[], object]) -> None:
        """Call `go_on` when it is its turn."""
        self._waiting.append(go_on)
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._pass)

    async def turn(self) -> None:
        """Return when it is the caller's turn."""
        mine = asyncio.Event()
        self.wait(mine.set)
        await mine.wait()

    def _pass(self) -> None:
        until = time.monotonic() + _PASS_S
        try:
            for _ in range(min(len(self._waiting), self._most)):
                self._waiting.popleft()()
                if time.monotonic() >= until:
                    break
        finally:
            self._is_scheduled = bool(self._waiting)
            if self._waiting:
                asyncio.get_running_loop().call_soon(self._pass)
