"""Whether a message meets what large providers demand of senders: the settings of the check, and its replies. Pure."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, IPvAnyAddress, WithJsonSchema

from ingress.policy.verdict import Refuse
from jetpost.config.section import DomainName, Section
from jetpost.mail.reply import EnhancedStatus, Reply
from jetpost.sign.author import Authors

_POLICY = EnhancedStatus(5, 7, 1)
NO_AUTHOR = Refuse(Reply(550, _POLICY, ("The From header field is missing, or has no address",)), "no-author")
SEVERAL_AUTHORS = Refuse(Reply(550, _POLICY, ("From must have one field and one domain",)), "several-authors")
NO_DMARC = Refuse(
    Reply(550, _POLICY, ("The domain in From has no DMARC record, and large providers demand one",)), "no-dmarc"
)
# RFC 7372, 3.3: multiple authentication checks failed.
NOT_AUTHENTICATED = Refuse(
    Reply(
        550,
        EnhancedStatus(5, 7, 26),
        ("The domain in From is not authenticated: no DKIM key signs for it here, and SPF does not pass",),
    ),
    "not-authenticated",
)
REFUSALS = {it.reason: it for it in (NO_AUTHOR, SEVERAL_AUTHORS, NO_DMARC, NOT_AUTHENTICATED)}
"""By the fault."""


def _mode(given: Any) -> Any:
    """YAML reads `off` as false."""
    return "off" if given is False else given


class SenderCheck(Section):
    """Whether senders meet what Gmail, Yahoo and Microsoft demand: `docs/howto/reach-gmail.md`.

    One author domain in From, a DMARC record, and an aligned DKIM signature or SPF. Messages of clients that may send
    anywhere are checked.
    """

    mode: Annotated[
        Literal["off", "warn", "refuse"],
        BeforeValidator(_mode),
        WithJsonSchema({"enum": ["off", "warn", "refuse", False]}),
    ] = "off"
    """`warn`: such a message is accepted, with an event and a metric; `refuse`: it is refused with 550 5.7.1 or 5.7.26.
    A DNS look-up that fails never refuses."""
    egress_addresses: tuple[IPvAnyAddress, ...] = ()
    """The public addresses that mail leaves from. SPF must allow all of them. Empty: SPF is not looked at, and a DKIM
    key must sign here."""
    signed_by_upstream: tuple[DomainName, ...] = ()
    """Author domains whose mail a smart host signs, and those below them. They need no key here, and no SPF."""
    timeout_s: Annotated[float, Field(gt=0, le=30)] = 5
    """How long a message may wait for DNS. Afterwards it is accepted as if nothing were wrong."""
    ttl_s: Annotated[float, Field(gt=0)] = 300
    """How long it is remembered that nothing is wrong with a domain."""
    fault_ttl_s: Annotated[float, Field(gt=0)] = 60
    """How long faults, and failed look-ups, are remembered."""
    cache_size: Annotated[int, Field(ge=1)] = 10_000
    """Domains that are remembered, about 500 bytes each."""


class Faults(NamedTuple):
    """What is wrong with a message's sender."""

    author: str = ""
    """The domain in From, when there is exactly one."""
    faults: tuple[str, ...] = ()
    """Keys of `REFUSALS`."""
    why: str = ""
    """For logs and events."""


def form_of(authors: Authors) -> Faults:
    """Whether there is exactly one author domain (RFC 5322, 3.6.2; RFC 9989, 5.3.1)."""
    if authors.fields == 0 or not authors.domains:
        return Faults("", (NO_AUTHOR.reason,), "no From field with an address")
    if authors.fields > 1 or len(authors.domains) > 1:
        return Faults("", (SEVERAL_AUTHORS.reason,), f"{authors.fields} From fields, {len(authors.domains)} domains")
    return Faults(authors.domains[0])


def refusal(faults: Iterable[str]) -> Refuse | None:
    """The reply to the worst fault: the last one that is found is what authentication says."""
    found = [REFUSALS[fault] for fault in faults]
    return found[-1] if found else None
