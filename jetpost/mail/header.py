"""A header block as fields, and header lines to prepend to a content. Pure."""

import re
from collections.abc import Iterable
from typing import NamedTuple

MOST_HEADER_BYTES = 256 * 1024
"""How far into a content its header is looked at."""
MOST_FIELDS = 10_000
"""Fields of a header that are told apart; what follows belongs to the last one."""

# A line that begins with white space continues the field before it (RFC 5322, 2.2.3).
_FIELD_END = re.compile(rb"\r\n(?![ \t])")


class Header(NamedTuple):
    """The fields of a header block, in order; `names` and `fields` are as long as each other."""

    names: tuple[bytes, ...]
    """Lower case. A line without a colon is a name as a whole."""
    fields: tuple[bytes, ...]
    """Each with its name and its folds, without the CRLF at its end."""

    def number_of(self, name: bytes) -> int:
        """How many fields have that `name` (lower case)."""
        return self.names.count(name)


def parse(block: bytes) -> Header:
    """The fields of a header `block`: what stands before the empty line of a content. No block is refused."""
    block = block.removesuffix(b"\r\n")
    fields = _FIELD_END.split(block, MOST_FIELDS - 1) if block else []
    return Header(tuple([field.partition(b":")[0].rstrip(b" \t").lower() for field in fields]), tuple(fields))


class HeaderLine(NamedTuple):
    """A header field of ours."""

    name: str
    value: str
    """Folded, without the CRLF at its end."""


def text_of(lines: Iterable[HeaderLine]) -> str:
    """Header lines as they stand above a content, CRLFs included."""
    return "".join([f"{line.name}: {line.value}\r\n" for line in lines])
