"""Sockets: where a listener listens, and how it is protected."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Literal, Self

from pydantic import Field, IPvAnyNetwork, field_validator, model_validator

from ingress.listen.connections import Connections
from ingress.listen.networks import Network, all_clients, too_wide, unmapped
from ingress.listen.preamble import Preamble, ProtocolOf, listening_sockets
from ingress.policy.request import ListenerPolicy
from jetpost.config.section import matching
from jetpost.listening import listening_on
from jetpost.telemetry.log import logger

_BACKLOG = 1024
_INSTEAD = (
    "name your own clients' networks, such as 10.0.0.0/8, let users authenticate with `require_auth: true`, or name the"
    " domains that anybody may send to in `domains`"
)
_MOST_LISTED = 4
_EXPECTED_TLS = {25: "starttls", 465: "implicit", 587: "starttls"}

log = logger(__name__)


class ListenerSettings(ListenerPolicy):
    """A port that takes mail, and on what terms. With no terms given it takes none from anybody."""

    name: Annotated[str, matching(r"^[a-z0-9-]{1,32}$", "1 to 32 lower-case letters, digits and hyphens")]
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

    @field_validator("relay_networks", "proxy_protocol_from", mode="after")
    @classmethod
    def _as_clients_are_compared(cls, networks: tuple[Network, ...]) -> tuple[Network, ...]:
        return tuple(map(unmapped, networks))

    @field_validator("relay_networks", mode="after")
    @classmethod
    def _never_an_open_relay(cls, networks: tuple[Network, ...]) -> tuple[Network, ...]:
        if family := all_clients(networks):
            raise ValueError(
                f"{_listed(networks)}: every {family} client could send mail to anybody without AUTH, which is an open"
                f" relay; {_INSTEAD}"
            )
        return networks

    @model_validator(mode="after")
    def _nobody_claims_to_be_of_ours(self) -> Self:
        family = all_clients(self.proxy_protocol_from)
        if family and self.relay_networks:
            raise ValueError(
                f"`proxy_protocol_from` has every {family} client, so anybody could name an address of `relay_networks`"
                " in a PROXY header, which is an open relay; name the load balancers' own networks, such as 10.1.2.0/24"
            )
        return self

    def remarks(self) -> tuple[str, ...]:
        """Networks that are wider than an operator's own are, and TLS that clients do not expect at the port."""
        relaying = f"may send mail to anybody without AUTH; {_INSTEAD}"
        naming = "may name any address as theirs; name the load balancers' own networks, such as 10.1.2.0/24"
        told = (
            ("relay_networks", self.relay_networks, relaying),
            ("proxy_protocol_from", self.proxy_protocol_from, naming),
        )
        wide_ones = tuple(
            f"listener {self.name}: {key} has {_listed(wide)}: many clients that are not yours {may}"
            for key, networks, may in told
            if (wide := too_wide(networks))
        )
        expected = _EXPECTED_TLS.get(self.port, self.tls)
        if self.tls in {"none", expected}:
            return wide_ones
        port = (
            f"listener {self.name}: clients expect `tls: {expected}` at port {self.port}, and it has `tls: {self.tls}`"
        )
        return (*wide_ones, port)


def _listed(networks: Sequence[Network]) -> str:
    """Some of the networks, as their number has no bound."""
    more = f" and {len(networks) - _MOST_LISTED} more" if len(networks) > _MOST_LISTED else ""
    return ", ".join(map(str, networks[:_MOST_LISTED])) + more


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
