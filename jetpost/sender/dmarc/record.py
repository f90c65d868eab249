"""A DMARC record, and what the records on the way up from a domain mean (RFC 9989, 4.7 and 4.10). Pure."""

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

WALK_LABELS = 7
"""A longer domain goes straight to so many labels after its own record (RFC 9989, 4.10)."""

_VERSION = re.compile(r"\s*[vV][ \t]*=[ \t]*DMARC1[ \t]*(?:;|\Z)")
# RFC 3986; a comma separates URIs, and `!size` at the end is obsolete.
_URI = re.compile(
    r"[a-z][a-z0-9+.-]*:(?:[a-z0-9._~:/?#\[\]@$&'()*+;=-]|%[0-9a-f]{2})*(?:![0-9]+[kmgt]?)?", re.IGNORECASE
)


class Policy(StrEnum):
    """What a domain asks receivers to do with mail that fails."""

    NONE = "none"
    QUARANTINE = "quarantine"
    REJECT = "reject"


_BELOW = {Policy.REJECT: Policy.QUARANTINE, Policy.QUARANTINE: Policy.NONE, Policy.NONE: Policy.NONE}


class Record(NamedTuple):
    """A record."""

    policy: Policy | None
    """`p`. None: there is no valid policy and no address for reports, so the record has no effect (4.10.1)."""
    of_subdomains: Policy | None = None
    """`sp`."""
    of_missing: Policy | None = None
    """`np`: of subdomains that do not exist."""
    strict_dkim: bool = False
    strict_spf: bool = False
    is_psd: bool | None = None
    """`psd`: whether the domain is a public suffix; None when the record does not say."""
    is_test: bool = False
    """`t=y`: policies count one step less."""
    reports_to: str = ""
    """`rua` as written."""
    text: str = ""


class Placed(NamedTuple):
    """A record at a domain."""

    domain: str
    record: Record


def is_dmarc(text: str) -> bool:
    """Whether a TXT record is a DMARC record: others are not looked at (4.10)."""
    return _VERSION.match(text) is not None


def only_record(texts: Sequence[str]) -> Record | None:
    """The record among the TXT records at `_dmarc.<domain>`; None when there is none, or more than one (4.10)."""
    records = [text for text in texts if is_dmarc(text)]
    return parse(records[0]) if len(records) == 1 else None


def parse(text: str) -> Record | None:
    """The record in `text`, which `is_dmarc`. None: a tag is there twice (RFC 6376, 3.2). Unknown tags are ignored."""
    tags: dict[str, str] = {}
    for each in text.split(";")[1:]:
        name, equals, value = each.partition("=")
        name = name.strip()
        if not equals:
            continue
        if name in tags:
            return None
        tags[name] = value.strip()
    lower = {name: value.lower() for name, value in tags.items()}
    return Record(
        *_policies(lower, tags.get("rua", "")),
        strict_dkim=lower.get("adkim") == "s",
        strict_spf=lower.get("aspf") == "s",
        is_psd={"y": True, "n": False}.get(lower.get("psd", "")),
        is_test=lower.get("t") == "y",
        reports_to=tags.get("rua", ""),
        text=text,
    )


def next_domain(domain: str) -> str:
    """Where the walk goes on after `domain`; "" when it has ended (4.10)."""
    labels = domain.split(".")
    return ".".join(labels[-WALK_LABELS:] if len(labels) > WALK_LABELS else labels[1:])


def organizational(domain: str, found: Sequence[Placed]) -> str:
    """The organizational domain of `domain`; `found` are the records of its walk, the longest domain first (4.10.2)."""
    for placed in found:
        if placed.record.is_psd is False:
            return placed.domain
        if placed.record.is_psd and placed.domain != domain:
            return ".".join(domain.split(".")[-(placed.domain.count(".") + 2) :])
    return found[-1].domain if found else domain


def governing(domain: str, found: Sequence[Placed]) -> Placed | None:
    """The record for the author domain: its own, its organizational domain's, or its public suffix's (4.10.1)."""
    above = organizational(domain, found)
    of_domain = {placed.domain: placed for placed in found}
    suffix = found[-1] if found and found[-1].record.is_psd else None
    return of_domain.get(domain) or of_domain.get(above) or suffix


def policy_for(domain: str, placed: Placed, *, exists: bool) -> Policy | None:
    """The policy for the author `domain` by the record that governs it; None when the record has no effect."""
    record = placed.record
    if record.policy is None:
        return None
    policy = record.policy
    if placed.domain != domain:
        policy = record.of_subdomains or record.policy
        if not exists:
            policy = record.of_missing or policy
    return _BELOW[policy] if record.is_test else policy


def _policies(lower: dict[str, str], reports_to: str) -> tuple[Policy | None, Policy | None, Policy | None]:
    """`p`, `sp` and `np`. When one of them is of no use, the record asks for reports only, or for nothing (4.10.1)."""
    values = set(Policy)
    if lower.get("p") in values and lower.get("sp", "none") in values and lower.get("np", "none") in values:
        return (
            Policy(lower["p"]),
            Policy(lower["sp"]) if "sp" in lower else None,
            Policy(lower["np"]) if "np" in lower else None,
        )
    reports = any(_URI.fullmatch(uri.strip()) for uri in reports_to.split(","))
    return Policy.NONE if reports else None, None, None
