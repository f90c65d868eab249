"""The domain of a message's author: whose signature receivers look for (RFC 5322, 3.6.2; RFC 9989, 3.2.2). Pure."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from jetpost.mail.address import a_labels
from jetpost.mail.header import Header

MOST_FROM_BYTES = 64 * 1024
"""Read of the From fields of a message: some thousand mailboxes. More would block the event loop."""

_SPACE = " \t\r\n"
# What nearly all mail has: a display name without special characters, and an address in angle brackets, or alone.
_PLAIN = re.compile(
    r'(?:[^"(),:;<>@\\\[]*<[ \t\r\n]*[^\s"(),:;<>@\\]+@([A-Za-z0-9.-]+)[ \t\r\n]*>'
    r'|[ \t\r\n]*[^\s"(),:;<>@\\]+@([A-Za-z0-9.-]+))[ \t\r\n]*'
)
_OUTSIDE = re.compile(r'"(?:[^"\\]|\\.)*"|\\.|[^"(),:;<>\\]+|.', re.DOTALL)
_IN_COMMENT = re.compile(r"\\.|[^()\\]+|.", re.DOTALL)
_QUOTED = "\0"
"""Stands for a quoted string: whatever it says, it is no address, and no part of a domain."""

_MOST_TOKENS = 20_000
"""Read of a field, in some 30 ms: two thousand mailboxes."""


class _StrangeError(Exception):
    """Receivers do not read it alike."""


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
    return Authors(len(values), tuple(dict.fromkeys(domain for value in values for domain in _domains(value))))


def author_domain(value: bytes) -> str:
    """The domain of all mailboxes in a From field's `value`, in lower case with A-labels.

    "" when there is no mailbox, when they are of several domains, and when receivers may see others than we do.
    """
    domains = _domains(value) if len(value) <= MOST_FROM_BYTES else ()
    return domains[0] if len(domains) == 1 else ""


def _domains(value: bytes) -> tuple[str, ...]:
    """The domains of the mailboxes, each once; none when receivers may see others than we do."""
    text = value.decode("utf-8", "replace")
    if (plain := _PLAIN.fullmatch(text)) is not None:
        labels = a_labels(plain[1] or plain[2])
        return () if labels is None else (labels,)
    try:
        found = [_domain(address) for address in _addresses(text)]
    except _StrangeError:
        return ()
    return tuple(dict.fromkeys(domain for domain in found if domain is not None))


def _domain(address: str) -> str | None:
    """The domain of an address, which may have white space around its dots (RFC 5322, 4.4); None: it has none."""
    if address.lstrip(_SPACE).startswith("@"):
        # A route, which nobody follows (RFC 5322, 4.4).
        address = address.rpartition(":")[2]
    local, at, domain = address.partition("@")
    if not at:
        return None
    labels = a_labels(domain.translate(dict.fromkeys(map(ord, _SPACE))))
    if not local.strip(_SPACE) or labels is None:
        raise _StrangeError
    return labels


def _addresses(text: str) -> list[str]:
    """The addresses of a list of mailboxes and groups; what stands in quotes is left out."""
    elements: list[list[str]] = [[]]
    open_angles = 0
    for part in _outside_comments(text):
        open_angles += (part == "<") - (part == ">")
        if part in {",", ";"} and open_angles == 0:
            elements.append([])
        elif part == ":" and "<" not in elements[-1]:  # the name of a group
            elements[-1] = []
        else:
            elements[-1].append(part)
    return [_address(element) for element in elements]


def _outside_comments(text: str) -> Iterator[str]:
    depth = position = tokens = 0
    while position < len(text):
        tokens += 1
        token = (_IN_COMMENT if depth else _OUTSIDE).match(text, position)
        assert token is not None
        position, part = token.end(), token[0]
        if part in {"(", ")"}:
            depth += 1 if part == "(" else -1
        elif not depth:
            # A quote that does not end; a pair outside of quotes.
            if part == '"' or part.startswith("\\"):
                raise _StrangeError
            yield _QUOTED if part.startswith('"') else part
        if depth < 0 or tokens > _MOST_TOKENS:
            raise _StrangeError
    if depth:
        raise _StrangeError


def _address(element: list[str]) -> str:
    """What stands in the angle brackets, or everything."""
    if not {"<", ">"} & set(element):
        return "".join(element)
    if element.count("<") != 1 or element.count(">") != 1:
        raise _StrangeError
    begin, end = element.index("<"), element.index(">")
    if end < begin or "".join(element[end + 1 :]).strip(_SPACE):
        raise _StrangeError
    return "".join(element[begin + 1 : end])
