"""Contents that are refused whatever they say."""

from ingress.policy.request import ContentRequest
from ingress.policy.size import TOO_LARGE
from ingress.policy.verdict import Refuse, Verdict
from jetpost.mail.reply import EnhancedStatus, Reply

# RFC 3463 has no detail for it; 5.6.11 is what other hosts say.
_BARE = Refuse(Reply(550, EnhancedStatus(5, 6, 11), ("Lines must end in CRLF: bare CR or LF found",)), "bare")
_NUL = Refuse(Reply(550, EnhancedStatus(5, 6, 0), ("NUL bytes are not allowed",)), "nul")
_LONG_LINE = Refuse(Reply(550, EnhancedStatus(5, 6, 0), ("A line is too long",)), "line")
_LOOP = Refuse(Reply(554, EnhancedStatus(5, 4, 6), ("Too many hops: this message is looping",)), "loop")


def small_enough(asked: ContentRequest) -> Verdict:
    """The real size, whatever was declared (RFC 1870, 6.3)."""
    return TOO_LARGE if asked.facts.size > asked.limits.message_bytes else None


def strict_lines(asked: ContentRequest) -> Verdict:
    """A bare CR or LF is an end of line, and then of data, to some hosts behind us: SMTP smuggling."""
    return _BARE if asked.facts.bare else None


def no_nul(asked: ContentRequest) -> Verdict:
    """NUL ends a string in some hosts behind us; RFC 5322, 4 allows refusing it."""
    return _NUL if asked.facts.nul else None


def short_lines(asked: ContentRequest) -> Verdict:
    """Lines that the next host would break, and with them the signature."""
    return _LONG_LINE if asked.facts.long_line else None


def no_loop(asked: ContentRequest) -> Verdict:
    """A message that went through so many hosts goes round in circles (RFC 5321, 6.3)."""
    return _LOOP if asked.facts.received > asked.limits.hops else None
