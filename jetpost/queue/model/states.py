"""The states of an entry, and the moves between them."""

from enum import StrEnum


class State(StrEnum):
    """Where an entry stands. Its value is the second token of its subject."""

    READY = "ready"
    """To be attempted now; delivery claims it."""
    PARKED = "parked"
    """Its domain is congested; the domain's lane claims it in order."""
    RETRY = "retry"
    """Deferred: a message schedule; the server makes it READY when it is due."""
    BOUNCE = "bounce"
    """Recipients failed; the bouncer sends a DSN to the sender."""
    HELD = "held"
    """Quarantined or held by an operator; no process claims it until it is released."""
    DONE = "done"
    """A tombstone without content: the entry ended, and nothing else under its key shows that. It expires."""


MOVES: dict[State, frozenset[State]] = {
    State.READY: frozenset({State.READY, State.PARKED, State.RETRY, State.BOUNCE, State.HELD, State.DONE}),
    State.PARKED: frozenset({State.PARKED, State.READY, State.RETRY, State.BOUNCE, State.HELD, State.DONE}),
    State.RETRY: frozenset({State.READY, State.HELD, State.BOUNCE}),
    State.BOUNCE: frozenset({State.HELD, State.DONE}),
    State.HELD: frozenset({State.READY, State.BOUNCE, State.DONE}),
    State.DONE: frozenset(),
}
"""The legal moves. Leaving the queue (an ack with no successor) is possible from every state that is consumed."""
