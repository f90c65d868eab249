"""Sockets: where a listener listens, and how it is protected."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Literal

from pydantic import Field, IPvAnyNetwork

from ingress.listen.connections import Connections
from ingress.listen.preamble import Preamble, ProtocolOf, listening_sockets
from ingress.policy.request import ListenerPolicy
from jetpost.listening import listening_on
from jetpost.telemetry.log import logger

_BACKLOG = 1024

log = logger(__name__)


class ListenerSettings(ListenerPolicy):
    """A port that takes mail, and on what terms. With no terms given it takes none from anybody."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,32}$")]
    """What logs, metrics and events call it."""
    host: str = "127.0.0.1"
    """Address to listen on; `0.0.0.0` or `::` for all."""
    port: Annotated[int, Field(ge=0, le=65535)]
    """Port to listen on. 0 takes any free one; it is logged as `listening`."""
    tls: Literal["none", "starttls", "implicit"] = "none"
    """`starttls`: offered in EHLO (RFC 3207); `implicit`: from the first byte on (RFC 8314, 3.3)."""
    proxy_protocol_from: tuple[IPvAnyNetwork, ...] = ()
    """Networks of load balancers that say whose connection they pass on (PROXY protocol, versions 1 and 2). A
    connection from there without such a header is closed; one from elsewhere is taken as it is, and has none."""


@asynccontextmanager
async def listen(
    settings: ListenerSettings,
    protocol: ProtocolOf,
    connections: Connections,
    tls: ssl.SSLContext | None,
    *,
    reuse_port: bool,
    handshake_s: float,
) -> AsyncIterator[None]:
    """Listen with a `protocol` for each connection while the block runs. CannotListen when the port cannot be bound."""
    binding = partial(listening_on, settings.host, settings.port, f"ingress.listeners, {settings.name}")
    wrapping = tls if settings.tls == "implicit" else None
    if settings.proxy_protocol_from or wrapping is not None:
        with binding():
            sockets = await listening_sockets(settings.host, settings.port, reuse_port=reuse_port, backlog=_BACKLOG)
        preamble = Preamble(
            sockets,
            protocol,
            connections,
            listener=settings.name,
            trusted=settings.proxy_protocol_from,
            tls=wrapping,
            timeout_s=handshake_s,
        )
        _tell(settings, sockets)
        try:
            yield
        finally:
            await preamble.close()
        return
    with binding():
        server = await asyncio.get_running_loop().create_server(
            partial(protocol, None), settings.host, settings.port, reuse_port=reuse_port, backlog=_BACKLOG
        )
    _tell(settings, server.sockets)
    try:
        yield
    finally:
        server.close()


def _tell(settings: ListenerSettings, sockets: Sequence[socket.socket]) -> None:
    for each in sockets:
        host, port = each.getsockname()[:2]
        log.info("listening", protocol="smtp", listener=settings.name, host=host, port=port, tls=settings.tls)
