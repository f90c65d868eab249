"""What a host offers in its reply to EHLO (RFC 5321, 4.1.1.1). Pure."""

from collections.abc import Mapping, Sequence

Extensions = Mapping[str, str]
"""EHLO keyword → parameters."""
_USED = frozenset({"PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "DSN", "STARTTLS", "AUTH", "CHUNKING"})
_LONGEST_PARAMETERS = 100


def offered(lines: Sequence[str]) -> dict[str, str]:
    """The extensions that a reply to EHLO offers, of those that are used (RFC 5321, 4.1.1.1)."""
    words = (line.upper().partition(" ") for line in lines[1:])
    return {keyword: parameters[:_LONGEST_PARAMETERS] for keyword, _, parameters in words if keyword in _USED}
