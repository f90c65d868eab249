"""The header with which a load balancer names the client (HAProxy's `proxy-protocol.txt`, versions 1 and 2).

It is read from the bare socket, not a byte too much, so that TLS or SMTP begins with its own first byte.
"""

import asyncio
import socket

from aiosmtpd.proxy_protocol import AF, V2_CMD, get_proxy

_MOST_V1_BYTES = 107


class ExactReader:
    """Reads a socket, never more than it is asked for."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    async def read(self, n: int = -1) -> bytes:
        """At most `n` bytes; none: the peer has ended."""
        return await asyncio.get_running_loop().sock_recv(self._connection, n)

    async def readexactly(self, n: int) -> bytes:
        """Exactly `n` bytes. EOFError when the peer ends before."""
        data = b""
        while len(data) < n:
            piece = await self.read(n - len(data))
            if not piece:
                raise EOFError("ended in the middle of the PROXY header")
            data += piece
        return data

    async def readuntil(self, separator: bytes = b"\n") -> bytes:
        """Up to `separator`. ValueError when it does not come in time (version 1 has 107 bytes at most)."""
        data = b""
        while not data.endswith(separator):
            if len(data) > _MOST_V1_BYTES:
                raise ValueError("the PROXY header does not end")
            data += await self.readexactly(1)
        return data


async def client_named(reader: ExactReader) -> str:
    """The client's address that a PROXY header names; empty: the load balancer speaks for itself (LOCAL, UNKNOWN).

    ValueError: there is no valid header.
    """
    said = await get_proxy(reader)
    if not said.valid:
        raise ValueError(said.error or "no PROXY header")
    if said.command == V2_CMD.LOCAL or said.family not in {AF.INET, AF.INET6}:
        return ""
    return str(said.src_addr)
