"""Sockets: where a listener listens, and how it is protected."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field

from ingress.policy.verdict import Terms
from jetpost.process.log import logger

_BACKLOG = 1024

log = logger(__name__)


class ListenerSettings(Terms):
    """A port that takes mail, and on what terms. With no terms given it takes none from anybody."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,32}$")]
    """What logs, metrics and events call it."""
    host: str = "127.0.0.1"
    """Address to listen on; `0.0.0.0` or `::` for all."""
    port: Annotated[int, Field(ge=0, le=65535)]
    """Port to listen on. 0 takes any free one; it is logged as `listening`."""
    tls: Literal["none", "starttls", "implicit"] = "none"
    """`starttls`: offered in EHLO (RFC 3207); `implicit`: from the first octet on (RFC 8314, 3.3)."""


async def listen(
    settings: ListenerSettings,
    protocol: Callable[[], asyncio.BaseProtocol],
    tls: ssl.SSLContext | None,
    *,
    reuse_port: bool,
    handshake_s: float,
) -> asyncio.Server:
    """Listen with a `protocol` for each connection. OSError when the port cannot be bound."""
    implicit = settings.tls == "implicit"
    server = await asyncio.get_running_loop().create_server(
        protocol,
        settings.host,
        settings.port,
        ssl=tls if implicit else None,
        ssl_handshake_timeout=handshake_s if implicit else None,
        reuse_port=reuse_port,
        backlog=_BACKLOG,
    )
    for socket in server.sockets:
        host, port = socket.getsockname()[:2]
        log.info("listening", protocol="smtp", listener=settings.name, host=host, port=port, tls=settings.tls)
    return server
