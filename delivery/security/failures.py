"""Which hosts TLS failed with lately. Pure."""

from collections.abc import Hashable


class Failures:
    """Remembers at most `most` hosts, each for `seconds`; the oldest goes first. Times are of any steady clock."""

    def __init__(self, seconds: float, most: int) -> None:
        self._seconds = seconds
        self._most = most
        self._until: dict[Hashable, float] = {}

    def add(self, host: Hashable, now: float) -> None:
        """TLS failed with `host`."""
        self._until.pop(host, None)
        self._until[host] = now + self._seconds
        if len(self._until) > self._most:
            del self._until[next(iter(self._until))]

    def has(self, host: Hashable, now: float) -> bool:
        """Whether TLS failed with `host` less than `seconds` ago."""
        until = self._until.get(host)
        if until is None:
            return False
        if now >= until:
            del self._until[host]
            return False
        return True
