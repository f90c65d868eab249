"""What is known of each stream from the last time the server ran, and what that says about the streams now."""

from collections.abc import Mapping

import msgspec


class Seen(msgspec.Struct, frozen=True):
    """A stream, as the server told it."""

    last: int
    """Its last sequence, on disk by then. It never goes back."""
    entries: int | None = None
    """Entries of mail in it, tombstones aside; only where nobody could take any since: after a stop in peace."""


def not_back(known: Mapping[str, Seen], found: Mapping[str, Seen]) -> dict[str, str]:
    """Why streams that are known are not back, by their names; empty: all are, with all that they had."""
    reasons: dict[str, str] = {}
    for name, then in sorted(known.items()):
        now = found.get(name)
        if now is None:
            reasons[name] = "is not there any more"
        elif now.last < then.last:
            reasons[name] = f"ends at {now.last}, and it had {then.last} already"
        elif then.entries is not None and now.entries is not None and now.entries < then.entries:
            reasons[name] = f"has {now.entries} entries, and it had {then.entries} when it was stopped"
    return reasons


def settled(before: Mapping[str, Seen], now: Mapping[str, Seen]) -> dict[str, Seen]:
    """What to remember while the server runs: what it told at the look before this one, and so is on disk by now."""
    return {name: Seen(min(before[name].last, seen.last) if name in before else 0) for name, seen in now.items()}
