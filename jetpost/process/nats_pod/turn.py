"""Whose turn it is to stop: a decision over what the servers of a cluster are doing.

One server of three may be away; the second takes the quorum along. So a server that is asked to stop waits while
another one is absent, or was asked before it. Where all are asked nobody waits: none would be left to wait for.

The order is that of Lamport's bakery (L. Lamport, A New Solution of Dijkstra's Concurrent Programming Problem, 1974): a
server first shows that it is asked, then takes a number above all that it sees. Of two that look at the same time at
least one sees the other.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple


class Server(NamedTuple):
    """What one server is doing."""

    present: bool
    """It serves, and its streams are current."""
    asked: bool = False
    """It was asked to stop, and has not begun to."""
    number: int | None = None
    """Its number, once it has one."""


ABSENT = Server(present=False)


def number_after(others: Collection[Server]) -> int:
    """The number of a server that sees these."""
    return 1 + max((other.number or 0 for other in others), default=0)


def obstacle(name: str, here: Server, others: Mapping[str, Server], leaving: Collection[str]) -> str | None:
    """Why the server `name` does not stop now, or None: it does.

    `here` has its number. `leaving` are those that were seen asked, and are absent since.
    """
    if all(other.asked or other_name in leaving for other_name, other in others.items()):
        return None
    for other_name, other in others.items():
        if not (other.asked or other.present):
            return f"{other_name} is absent"
    for other_name, other in others.items():
        # Who is absent and asked goes first: the others would wait for its return.
        if other.asked and (other.present, other.number or 0, other_name) < (here.present, here.number or 0, name):
            return f"{other_name} was asked before"
    return None
