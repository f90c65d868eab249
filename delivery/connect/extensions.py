"""What a host offers in its reply to EHLO (RFC 5321, 4.1.1.1). Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

Extensions = Mapping[str, str]
"""EHLO keyword → parameters."""
_USED = frozenset({"PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "DSN", "STARTTLS", "AUTH", "CHUNKING", "LIMITS"})
_LONGEST_PARAMETERS = 500
_LIMIT = re.compile(r"(MAILMAX|RCPTMAX)=([1-9][0-9]{0,5})")
_UNLIMITED = 10**6


def offered(lines: Sequence[str]) -> dict[str, str]:
    """The extensions that a reply to EHLO offers, of those that are used (RFC 5321, 4.1.1.1)."""
    words = (line.upper().partition(" ") for line in lines[1:])
    return {keyword: parameters[:_LONGEST_PARAMETERS] for keyword, _, parameters in words if keyword in _USED}


class Limits(NamedTuple):
    """What a host takes on one connection (LIMITS, RFC 9422, 4).

    RCPTDOMAINMAX is at least 1, and each transaction has recipients of one domain, so it needs no care.
    """

    transactions: int = _UNLIMITED
    """MAIL commands in a session, also those that fail (MAILMAX)."""
    recipients: int = _UNLIMITED
    """RCPT commands in a transaction, also those that fail (RCPTMAX)."""


def limits(extensions: Extensions) -> Limits:
    """Those that the host announces. What is malformed is ignored; of several values the lowest counts."""
    lowest = {"MAILMAX": _UNLIMITED, "RCPTMAX": _UNLIMITED}
    for word in extensions.get("LIMITS", "").split():
        if (found := _LIMIT.fullmatch(word)) is not None:
            lowest[found[1]] = min(lowest[found[1]], int(found[2]))
    return Limits(lowest["MAILMAX"], lowest["RCPTMAX"])
