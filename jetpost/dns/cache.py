"""Answers kept for their time, in bounded memory."""

from collections import OrderedDict
from typing import Any

from jetpost.dns.answer import Answer

Question = tuple[str, int]
"""A name in lower case and a record type."""


class Cache:
    """At most `size` answers; the one not asked for longest goes first. Times are seconds of any steady clock."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: OrderedDict[Question, tuple[float, Answer[Any]]] = OrderedDict()

    def get(self, question: Question, now: float) -> Answer[Any] | None:
        """The answer kept for `question`, or None when there is none or its time is up."""
        if question not in self._kept:
            return None
        until, answer = self._kept[question]
        if now >= until:
            del self._kept[question]
            return None
        self._kept.move_to_end(question)
        return answer

    def put(self, question: Question, answer: Answer[Any], until: float) -> None:
        """Keep `answer` up to the time `until`, in place of an older one."""
        self._kept[question] = (until, answer)
        self._kept.move_to_end(question)
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)
