"""What every connection to a host has in common: a part of the section `delivery.attempt`."""

from typing import Annotated

from pydantic import Field

from delivery.connect.timeouts import Timeouts
from jetpost.config.section import Section


class ConnectSettings(Section):
    """How connections are made, kept and ended."""

    timeouts: Timeouts = Timeouts()
    """How long each phase may take."""
    tls_retry_s: Annotated[float, Field(ge=0, le=86400)] = 600
    """How long a host at which TLS failed gets its mail without, before TLS is tried with it again. For `opportunistic`
    only: `required` tries TLS each time. 0: each connection tries TLS first."""
    auth_retry_s: Annotated[float, Field(gt=0, le=86400)] = 300
    """How long credentials that a host refused are not tried again. Their mail is deferred meanwhile. A password file
    that has changed counts at once."""
    messages_per_connection: Annotated[int, Field(ge=1)] = 100
    """Transactions on one connection before it is closed."""
    idle_s: Annotated[float, Field(ge=0)] = 5
    """How long an idle connection is kept for the next message."""
