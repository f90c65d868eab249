"""Which log lines repeat one another, and how many of them are written. Pure."""

from collections import OrderedDict
from typing import NamedTuple

_MOST_REMEMBERED = 4096
"""Causes and events that are remembered; the oldest are forgotten first."""


class Passed(NamedTuple):
    """A line is written. What was left out since the last line that was written is told with it."""

    repeated: int
    """Lines of the same cause and object."""
    others: int
    """Lines of the same event with other causes or objects, left out because there were too many of them."""


class _Cause:
    __slots__ = ("left_out", "written")

    def __init__(self, written: float) -> None:
        self.written = written
        self.left_out = 0


class _Event:
    __slots__ = ("began", "causes", "left_out")

    def __init__(self, began: float) -> None:
        self.began = began
        self.causes = 0
        self.left_out = 0


class LogLimit:
    """Lets one line of a cause and object through in `period_s` seconds, and not many of an event.

    `period_s` 0 lets everything through. Memory is bounded, whatever the lines say.
    """

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._causes: OrderedDict[tuple[str, ...], _Cause] = OrderedDict()
        self._events: OrderedDict[str, _Event] = OrderedDict()

    def passes(self, event: str, cause: tuple[str, ...], now: float, most: int) -> Passed | None:
        """Whether a line of `event` is written at `now` (seconds); None when it is left out.

        `cause` are the texts of its cause and object; of the event `most` lines are written in a period.
        """
        if self._period_s <= 0:
            return Passed(0, 0)
        key = (event, *cause)
        known = self._causes.get(key)
        if known is not None and now - known.written < self._period_s:
            known.left_out += 1
            return None
        of_event = self._of_event(event, now)
        if of_event.causes >= most:
            of_event.left_out += 1
            return None
        of_event.causes += 1
        others, of_event.left_out = of_event.left_out, 0
        repeated = 0 if known is None else known.left_out
        self._causes[key] = _Cause(now)
        self._causes.move_to_end(key)
        _forget_oldest(self._causes)
        return Passed(repeated, others)

    def _of_event(self, event: str, now: float) -> _Event:
        of_event = self._events.get(event)
        if of_event is None:
            of_event = self._events[event] = _Event(now)
            _forget_oldest(self._events)
        elif now - of_event.began >= self._period_s:
            of_event.began, of_event.causes = now, 0
            self._events.move_to_end(event)
        return of_event


def _forget_oldest(remembered: "OrderedDict[tuple[str, ...], _Cause] | OrderedDict[str, _Event]") -> None:
    if len(remembered) > _MOST_REMEMBERED:
        remembered.popitem(last=False)
