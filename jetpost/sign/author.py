"""The domain of a message's author: whose signature receivers look for (RFC 5322, 3.6.2; RFC 9989, 3.2.2). Pure."""

import re
from typing import NamedTuple

from jetpost.mail.address import a_labels
from jetpost.mail.header import Header

MOST_FROM_BYTES = 16 * 1024
"""Reading 256 KB of addresses would block the event loop."""

# What nearly all mail has: a display name without special characters, and an address in angle brackets, or alone.
_PLAIN = re.compile(r'(?:[^"(),:;<>@\\\[]*<)?\s*[^\s"(),:;<>@\\]+@([A-Za-z0-9.-]+)\s*>?\s*')
_OUTSIDE = re.compile(r'"(?:[^"\\]|\\.)*"|\\.|[^"(),:;<>\\]+|.', re.DOTALL)
_IN_COMMENT = re.compile(r"\\.|[^()\\]+|.", re.DOTALL)
_QUOTED = "q"
"""Stands for a quoted string: whatever it says, it is no address."""


class Authors(NamedTuple):
    """Who a message says it is from."""

    fields: int
    """From fields; one is right (RFC 5322, 3.6)."""
    domains: tuple[str, ...]
    """The domains of their mailboxes, each once, in lower case with A-labels."""


def authors_of(header: Header) -> Authors:
    """The authors that a header names. Of From fields beyond `MOST_FROM_BYTES` nothing is read."""
    values = [field.partition(b":")[2] for name, field in zip(*header, strict=True) if name == b"from"]
    if sum(map(len, values)) > MOST_FROM_BYTES:
        return Authors(len(values), ())
    addresses = [it for value in values for it in _addresses(value.decode("utf-8", "replace"))]
    return Authors(len(values), tuple(dict.fromkeys(filter(None, map(_domain, addresses)))))


def author_domain(value: bytes) -> str:
    """The domain of the first mailbox in a From field's `value`, in lower case with A-labels; "" when there is none."""
    text = value.decode("utf-8", "replace")
    plain = _PLAIN.fullmatch(text)
    addresses = [f"@{plain[1]}"] if plain is not None else _addresses(text)
    return next((domain for address in addresses if (domain := _domain(address))), "")


def _domain(address: str) -> str:
    """The domain of an address, which may have white space around its dots (RFC 5322, 4.4)."""
    _, at, domain = address.rpartition("@")
    return a_labels("".join(domain.split())) or "" if at else ""


def _addresses(text: str) -> list[str]:
    """The addresses of a list of mailboxes and groups, without comments; what stands in quotes is left out."""
    found: list[str] = []
    said, angle, depth = "", "", 0
    is_in_angle = False
    position = 0
    while position < len(text):
        token = (_IN_COMMENT if depth else _OUTSIDE).match(text, position)
        assert token is not None
        position, part = token.end(), token[0]
        if part in {"(", ")"}:
            depth = max(depth + (1 if part == "(" else -1), 0)
        elif depth:
            continue
        elif part in {"<", ">"}:
            is_in_angle = part == "<"
        elif is_in_angle:
            angle += _QUOTED if part.startswith('"') else part
        elif part in {",", ";"}:
            found.append(angle or said)
            said = angle = ""
        elif part == ":":  # the name of a group
            said = ""
        else:
            said += _QUOTED if part.startswith('"') else part
    return [*found, angle or said]
