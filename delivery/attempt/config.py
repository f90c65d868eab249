"""The section `delivery.attempt`."""

from typing import Annotated

from pydantic import Field, IPvAnyAddress

from delivery.attempt.demands import EightBit
from delivery.attempt.timeouts import Timeouts
from delivery.security.requirement import TlsMode
from jetpost.config.section import Section


class AttemptSettings(Section):
    """How one attempt at delivery is made."""

    timeouts: Timeouts = Timeouts()
    """How long each phase may take."""
    tls: TlsMode = TlsMode.OPPORTUNISTIC
    """`opportunistic`: TLS where the host offers it, plain otherwise and when TLS fails (RFC 7435); `required`: no mail
    without TLS; `none`: never."""
    tls_retry_s: Annotated[float, Field(ge=0, le=86400)] = 600
    """How long a host at which TLS failed gets its mail without, before TLS is tried with it again. For `opportunistic`
    only: `required` tries TLS each time. 0: each connection tries TLS first."""
    eight_bit: EightBit = EightBit.SEND
    """What becomes of content with octets beyond ASCII at a host that does not offer 8BITMIME. `send`: it goes as it
    is, and such hosts take it as a rule; `bounce`: the sender is told (5.6.3), as RFC 6152, 3 has it where nothing is
    converted."""
    source_address: IPvAnyAddress | None = None
    """The local address connections come from; none: the system chooses."""
    recipients_per_transaction: Annotated[int, Field(ge=1)] = 100
    """Recipients of one transaction; more go in further ones (RFC 5321, 4.5.3.1.8: every host takes 100)."""
    messages_per_connection: Annotated[int, Field(ge=1)] = 100
    """Transactions on one connection before it is closed."""
    idle_s: Annotated[float, Field(ge=0)] = 5
    """How long an idle connection is kept for the next message."""
