"""The section `bouncer`."""

from typing import Annotated

from pydantic import AfterValidator, Field

from jetpost.config.section import Section


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be one line of printable characters")
    return text


class Bouncer(Section):
    """The service that tells senders what did not arrive."""

    sender_name: Annotated[str, AfterValidator(_one_line)] = "Mail Delivery System"
    """Whom DSNs come from, for people; the address is `MAILER-DAEMON@<hostname>`."""
    contact: str = ""
    """A sentence that tells the reader where to get help, such as `Ask help@example.com`; empty for none."""
    return_full_bytes: Annotated[int, Field(ge=0)] = 64 * 1024
    """Messages up to this size are returned whole, larger ones as their header (unless the sender asked for headers
    alone: RFC 3461, 4.3)."""
    concurrency: Annotated[int, Field(ge=1)] = 50
    """Bounces worked on at the same time."""
    drain_s: Annotated[float, Field(ge=0)] = 10
    """Seconds a process may take to finish what it has begun when it is told to stop."""
