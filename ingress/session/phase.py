"""Where a session stands."""

from enum import StrEnum


class Phase(StrEnum):
    """What has been said so far."""

    CONNECTED = "connected"
    IDENTIFIED = "identified"
    SENDER = "sender"
    RECIPIENTS = "recipients"
    DATA = "data"
    """What arrives is the message, and no command."""
    CLOSED = "closed"
