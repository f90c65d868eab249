"""The header with which a load balancer names the client (HAProxy's `proxy-protocol.txt`, versions 1 and 2).

It is read from the bare socket, not an octet too much, so that TLS or SMTP begins with its own first octet.
"""

import asyncio
import socket

from aiosmtpd.proxy_protocol import AF, V2_CMD, get_proxy

_MOST_V1_OCTETS = 107


class Octets:
    """Reads a socket, never more than it is asked for."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    async def read(self, n: int = -1) -> bytes:
        """At most `n` octets; none: the peer has ended."""
        return await asyncio.get_running_loop().sock_recv(self._connection, n)

    async def readexactly(self, n: int) -> bytes:
        """Exactly `n` octets. EOFError when the peer ends before."""
        octets = b""
        while len(octets) < n:
            piece = await self.read(n - len(octets))
            if not piece:
                raise EOFError("ended in the middle of the PROXY header")
            octets += piece
        return octets

    async def readuntil(self, separator: bytes = b"\n") -> bytes:
        """Up to `separator`. ValueError when it does not come in time (version 1 has 107 octets at most)."""
        octets = b""
        while not octets.endswith(separator):
            if len(octets) > _MOST_V1_OCTETS:
                raise ValueError("the PROXY header does not end")
            octets += await self.readexactly(1)
        return octets


async def client_named(octets: Octets) -> str:
    """The client's address that a PROXY header names; empty: the load balancer speaks for itself (LOCAL, UNKNOWN).

    ValueError: there is no valid header.
    """
    said = await get_proxy(octets)
    if not said.valid:
        raise ValueError(said.error or "no PROXY header")
    if said.command == V2_CMD.LOCAL or said.family not in {AF.INET, AF.INET6}:
        return ""
    return str(said.src_addr)
