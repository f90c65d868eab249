"""The deadlines of a connection, and the one timer that looks whether one has passed."""

import asyncio
import math
from collections.abc import Callable

from ingress.policy.limits import Limits

_LINGER_S = 30.0
"""How long the last words may wait to be read; less where `idle_s` is."""


class Clock:
    """Calls `time_is_up` when the client has been silent for too long, or the session has lasted too long."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits, time_is_up: Callable[[], None]) -> None:
        self._loop = loop
        self._idle_s = limits.idle_s
        self._time_is_up = time_is_up
        self._deadline = math.inf
        self._last_moment = loop.time() + limits.session_s
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Look at the deadlines from now on: now and then, instead of setting a timer for each."""
        now = self._loop.time()
        if now >= self._deadline:
            self._time_is_up()
            return
        next_look = min(self._deadline, now + self._idle_s)
        if now < self._last_moment:
            next_look = min(next_look, self._last_moment)
        self._timer = self._loop.call_at(next_look, self.start)

    def await_client(self) -> bool:
        """It is the client's turn, and its time runs; False: it ran out while we were busy."""
        now = self._loop.time()
        if now >= self._last_moment:
            return False
        self._deadline = min(now + self._idle_s, self._last_moment)
        return True

    def await_reader(self) -> None:
        """The client is to read first, for as long as it may be idle."""
        if self._deadline == math.inf:
            self._deadline = min(self._loop.time() + self._idle_s, self._last_moment)

    def rest(self) -> None:
        """It is our turn: nothing is awaited."""
        self._deadline = math.inf

    def linger(self, abort: Callable[[], None]) -> None:
        """No more deadlines, but one for the last words."""
        self.stop()
        self._timer = self._loop.call_later(min(self._idle_s, _LINGER_S), abort)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
