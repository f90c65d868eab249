"""How often a server is restarted that keeps an error: soon at first, and seldom when that does not help."""

_FIRST_S = 20.0
_LONGEST_S = 3600.0


class Restarts:
    """Times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._pause_s = _FIRST_S
        self._next = 0.0

    def may(self, now: float) -> bool:
        """Whether there may be a restart now; if so it counts as made."""
        if now < self._next:
            return False
        if now > self._next + self._pause_s:
            self._pause_s = _FIRST_S
        self._next = now + self._pause_s
        self._pause_s = min(2 * self._pause_s, _LONGEST_S)
        return True
