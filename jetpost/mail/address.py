"""Mailboxes and domains as SMTP writes them (RFC 5321, 4.1.2 and 4.1.3; RFC 6531, 3.3)."""

import re
from functools import lru_cache
from typing import NamedTuple

import idna

MOST_PATH_BYTES = 256
"""Angle brackets included (RFC 5321, 4.5.3.1.3). The 64 bytes of a local part are not enforced: signed and variable
reverse-paths exceed them daily, and 4.5.3.1 asks for no limits where none are needed."""
_MOST_DOMAIN_BYTES = 253

# Without the control characters of ISO 8859 (RFC 5198, 2, wants none), which end lines and move cursors elsewhere.
_BEYOND_ASCII = "\u00a0-\U0010ffff"
_ATOM = rf"[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~{_BEYOND_ASCII}-]+"
_QUOTED = rf'"(?:[ !#-\[\]-~{_BEYOND_ASCII}]|\\[ -~])*"'
_LOCAL = rf"(?:{_ATOM}(?:\.{_ATOM})*|{_QUOTED})"
_DOMAIN = rf"[A-Za-z0-9_{_BEYOND_ASCII}.-]+"
_LITERAL = r"\[[!-Z^-~]+\]"
_ROUTE = rf"(?:@{_DOMAIN}(?:,@{_DOMAIN})*:)?"
_PATH = re.compile(rf"<{_ROUTE}((?:{_LOCAL})@({_DOMAIN}|{_LITERAL})|(?ai:postmaster)|)>")
# Underscores are no host names (RFC 1123, 2.1) but stand in many a sender's domain.
_LABELS = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")


class Path(NamedTuple):
    """What stood between angle brackets; a source route is dropped (RFC 5321, 4.1.1.3 and appendix C)."""

    address: str
    """As written: a local part's case and a domain's spelling are kept. "" for the null path."""
    domain: str
    """The domain as lower-case A-labels, or an address literal in lower case with its brackets; "" for the null path
    and for `<postmaster>`."""

    @property
    def is_literal(self) -> bool:
        """Whether the domain is an address such as `[192.0.2.1]`."""
        return self.domain.startswith("[")


def path(text: str) -> tuple[Path, str] | None:
    """The path that `text` begins with, and what follows it; None when it begins with none.

    `<>` and `<postmaster>` are paths; whether they may stand there is the caller's business.
    """
    found = _PATH.match(text)
    if found is None or len(found[0].encode("utf-8", "surrogatepass")) > MOST_PATH_BYTES:
        return None
    address, written = found[1], found[2]
    if written is None:
        return Path(address, ""), text[found.end() :]
    domain = written.lower() if written.startswith("[") else a_labels(written)
    return None if domain is None else (Path(address, domain), text[found.end() :])


def domain_of(address: str) -> str:
    """The domain of a valid `address` as lower-case A-labels, or its literal; "" for the null path."""
    if address.endswith("]"):  # a literal may contain an @, and no [
        return address[address.rfind("@[") + 1 :].lower() if "@[" in address else ""
    return a_labels(address.rpartition("@")[2]) or "" if "@" in address else ""


@lru_cache(maxsize=4096)
def a_labels(domain: str) -> str | None:
    """`domain` in lower case with A-labels for U-labels (RFC 5890, 2.3.2.1); None when it is none."""
    if not domain.isascii():
        try:
            domain = idna.encode(domain, uts46=True).decode()
        except UnicodeError:  # IDNAError is one
            return None
    domain = domain.lower()
    return domain if len(domain) <= _MOST_DOMAIN_BYTES and _LABELS.fullmatch(domain) else None
