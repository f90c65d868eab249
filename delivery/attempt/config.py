"""The section `delivery.attempt`."""

from typing import Annotated

from pydantic import Field, IPvAnyAddress

from delivery.attempt.commands import EightBit
from delivery.connect.settings import ConnectSettings
from delivery.route.endpoint import ConnectionTerms
from delivery.security.requirement import TlsMode


class AttemptSettings(ConnectSettings):
    """How one attempt at delivery is made."""

    tls: TlsMode = TlsMode.OPPORTUNISTIC
    """`opportunistic`: TLS where the host offers it, plain otherwise and when TLS fails (RFC 7435); `required`: no mail
    without TLS; `none`: never."""
    eight_bit: EightBit = EightBit.SEND
    """How content with bytes beyond ASCII is sent to a host that does not offer 8BITMIME. `send`: it is sent unchanged,
    and such hosts usually accept it. `bounce`: the message bounces (5.6.3), as RFC 6152, 3 requires without a
    conversion."""
    chunking: bool = True
    """Whether content goes out with BDAT to hosts that offer CHUNKING (RFC 3030), else with DATA."""
    source_address: IPvAnyAddress | None = None
    """The local address connections come from; none: the system chooses."""
    recipients_per_transaction: Annotated[int, Field(ge=1)] = 100
    """Recipients of one transaction; more go in further ones (RFC 5321, 4.5.3.1.8: every host takes 100)."""

    @property
    def terms(self) -> ConnectionTerms:
        """Of the connections to every host."""
        return ConnectionTerms("" if self.source_address is None else str(self.source_address), self.tls)
