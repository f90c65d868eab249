"""How long each phase of an outgoing transaction may take."""

from typing import Annotated

from pydantic import Field

from jetpost.config.section import Section


class Timeouts(Section):
    """How long each phase of an outgoing transaction may take (RFC 5321, 4.5.3.2), and all of them together."""

    attempt_s: Annotated[float, Field(gt=0)] = 3600
    """An attempt in all, over all hosts and up to the content: then nothing begins any more, and what is waited for is
    given up. Without it a host that answers each command at the last moment could hold an attempt for days. The content
    (`slowest_bytes_per_s`) and the reply to the final dot have times of their own, which come on top once."""
    slowest_bytes_per_s: Annotated[float, Field(gt=0)] = 10_000
    """How fast the content must go out as a whole, at least: 25 MB may take 44 minutes. No content has less than
    `block_s`."""
    connect_s: Annotated[float, Field(gt=0)] = 30
    """Waiting for the TCP connection. The RFC names none; the next host is tried after it."""
    greeting_s: Annotated[float, Field(gt=0)] = 300
    """Waiting for the 220 greeting (4.5.3.2.1)."""
    ehlo_s: Annotated[float, Field(gt=0)] = 300
    """Waiting for the reply to EHLO or HELO."""
    tls_s: Annotated[float, Field(gt=0)] = 60
    """Waiting for the reply to STARTTLS, and then for the handshake."""
    auth_s: Annotated[float, Field(gt=0)] = 60
    """Waiting for each reply of an authentication."""
    token_s: Annotated[float, Field(gt=0)] = 30
    """Waiting for the issuer of an access token (`auth.oauth`), from the look-up of its name to the whole answer."""
    mail_s: Annotated[float, Field(gt=0)] = 300
    """Waiting for the reply to MAIL (4.5.3.2.2)."""
    rcpt_s: Annotated[float, Field(gt=0)] = 300
    """Waiting for the reply to RCPT (4.5.3.2.3)."""
    data_s: Annotated[float, Field(gt=0)] = 120
    """Waiting for the 354 (4.5.3.2.4)."""
    block_s: Annotated[float, Field(gt=0)] = 180
    """Waiting until a block of the content has gone out (4.5.3.2.5)."""
    final_dot_s: Annotated[float, Field(ge=600)] = 600
    """Waiting for the reply to the final dot (4.5.3.2.6). Shorter makes duplicates, so less is refused. Over LMTP: for
    the first reply, and again for the others together."""
    quit_s: Annotated[float, Field(gt=0)] = 2
    """Waiting for the reply to QUIT: nothing depends on it."""

    def content_s(self, size: int) -> float:
        """How long `size` bytes of content may take to go out."""
        return max(self.block_s, size / self.slowest_bytes_per_s)
