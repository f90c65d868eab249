"""Which replies say that a host is sent too much at once: facts as of 2026-11-27, from RFCs and providers. Pure.

Edit this table when a provider changes its words. A 5yz reply never counts: it is final.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from delivery.classify.phases import ConnectionBroke, Phase
from jetpost.mail.reply import Reply

EARLY = frozenset({Phase.CONNECT, Phase.GREETING, Phase.EHLO, Phase.STARTTLS})
"""Phases in which a reply concerns this host alone: another host of the route may answer."""

THROTTLES, OTHERWISE = True, False


class Row(NamedTuple):
    """Replies, and whether they throttle. All that is given must fit; the first row that fits counts."""

    throttles: bool
    code: str = "4.."
    """A regular expression, like the next two."""
    status: str = ".*"
    """The enhanced status code; a reply without one has an empty text here."""
    text: str = ""
    """Somewhere in the text, which is looked at in lower case."""
    of_recipient: bool = True
    """Whether the row is also for replies about a single recipient: to RCPT, or over LMTP."""
    besides: frozenset[Phase] = frozenset()
    """Phases that the row is not for."""


_A_RATE = (
    r"throttl|\brates?\b|unusual (activity|sending|volume)"
    r"|too (many|much|fast|quickly|frequent)|concurren|server (is )?(too )?busy|slow down"
    r"|(limit|quota|credits?|volume)\b.{0,40}\b(exceed|reach)"
    r"|(exceed|reach)\w*\b.{0,60}\b(limit|quota|credits?|volume)"
)

ROWS: Sequence[Row] = (
    # About one recipient, or one message: the route may go on.
    Row(OTHERWISE, text=r"gr[ae]y.?list"),
    Row(OTHERWISE, text=r"relay(ing)? (access )?(denied|not permitted)"),
    # RFC 3463, 3.3: this mailbox is full.
    Row(OTHERWISE, status=r"4\.2\.2"),
    # A mailbox that is full; Gmail: "450 4.2.1 The user you are trying to contact is receiving mail at a rate that …".
    Row(OTHERWISE, status=r"(4\.[12]\..*)?", text=r"user you are trying to contact|mailbox|over.?quota|disk quota"),
    # The host ended a connection that was idle for too long (Postfix: 421 4.4.2 timeout exceeded).
    Row(OTHERWISE, code="421", status=r"4\.4\.2"),
    # RFC 5321, 3.8. Google: 421 4.7.28. Microsoft: 421 4.7.0, 421 4.3.2. Postfix: 421 4.7.0 too many connections.
    Row(THROTTLES, code="421"),
    # Amazon SES: "454 Throttling failure: …". Google: "454 4.7.0 Too many login attempts". To STARTTLS it says that TLS
    # is not available (RFC 3207, 4).
    Row(THROTTLES, code="454", besides=frozenset({Phase.STARTTLS})),
    # RFC 3463, 3.4 and 3.5: the system accepts no messages (Microsoft: 432 4.3.2), or is congested.
    Row(THROTTLES, status=r"4\.3\.2|4\.4\.5"),
    # Too many recipients, although none was accepted yet: not a limit of one transaction.
    Row(THROTTLES, status=r"4\.5\.3"),
    # Google (4.7.28) and Microsoft (451 4.7.500 and above): limits of the sending system.
    Row(THROTTLES, status=r"4\.7\.28|4\.7\.[5-9]\d\d"),
    # Google: "450 4.2.1 Peak SMTP relay limit exceeded". SendGrid: "452 Too many recipients received this hour".
    Row(THROTTLES, text=_A_RATE),
    # Microsoft: "451 4.7.0 Temporary server error. Please try again later." Also to RCPT.
    Row(THROTTLES, status=r"4\.7\.0"),
    # Registered for something else (RFC 3463, 3.8; RFC 7372): the sender's domain, the content, one mailbox.
    Row(OTHERWISE, status=r"4\.7\.([2-9]|1\d|2[0-7])"),
    # RFC 3463, 3.8: policy. About one recipient it is often greylisting.
    Row(THROTTLES, status=r"4\.7\..*", of_recipient=False),
    Row(THROTTLES, text=r"(try|come back|retry)( it| the command)?( again)? later", of_recipient=False),
)

_COMPILED = [(row, re.compile(row.code), re.compile(row.status), re.compile(row.text)) for row in ROWS]
_MOST_TEXT = 500
"""Characters that are looked at: time grows faster than they do."""


def is_throttling(phase: Phase, answer: Reply | ConnectionBroke, *, of_recipient: bool = False) -> bool:
    """Whether `answer` in `phase` asks for a pause. `of_recipient`: it is about one recipient alone."""
    if not isinstance(answer, Reply) or not 400 <= answer.code < 500:
        return False
    code, status = str(answer.code), str(answer.status or "")
    said = " ".join(answer.text)[:_MOST_TEXT].lower()
    for row, codes, statuses, texts in _COMPILED:
        if (
            (row.of_recipient or not of_recipient)
            and phase not in row.besides
            and codes.fullmatch(code)
            and statuses.fullmatch(status)
            and texts.search(said)
        ):
            return row.throttles
    return False
