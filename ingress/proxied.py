"""Connections that come through a load balancer, which says whose they are (the PROXY protocol).

Its header comes before anything else, TLS included. So connections are accepted as bare sockets here, and handed to
asyncio once the header has been read from them.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence

from prometheus_client import Counter
from pydantic import IPvAnyNetwork

from ingress.policy.relay import is_in
from ingress.proxy_header import Octets, client_named
from jetpost.process.log import logger
from jetpost.tasks import end

FAILED = Counter("jetpost_ingress_proxy_failures_total", "Connections from a load balancer without a PROXY header.")

_OUT_OF_FILES_S = 1.0

ProtocolOf = Callable[[str], asyncio.BaseProtocol]
"""Makes the protocol of a connection, given its client's address; empty: the peer is the client."""

log = logger(__name__)


class ProxiedServer:
    """Accepts on `sockets`. Peers in `trusted` networks must say whom they speak for; others speak for themselves."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        protocol: ProtocolOf,
        trusted: tuple[IPvAnyNetwork, ...],
        tls: ssl.SSLContext | None,
        patience_s: float,
    ) -> None:
        self.sockets = sockets
        self._protocol = protocol
        self._trusted = trusted
        self._tls = tls
        self._patience_s = patience_s
        self._accepting = [asyncio.create_task(self._accept(each), name="accept") for each in sockets]
        self._beginning: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Let nobody new in. Connections that have begun go on."""
        await end(self._accepting)
        for each in self.sockets:
            each.close()
        await end(list(self._beginning))

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, peer = await loop.sock_accept(listening)
            except OSError as error:
                log.warning("cannot accept", error=str(error))
                await asyncio.sleep(_OUT_OF_FILES_S)
                continue
            task = loop.create_task(self._begin(connection, peer[0]), name="proxied")
            self._beginning.add(task)
            task.add_done_callback(self._beginning.discard)

    async def _begin(self, connection: socket.socket, peer: str) -> None:
        """Learn who the client is, and hand the connection over."""
        try:
            client = await self._client_behind(connection, peer)
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: self._protocol(client),
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=self._patience_s if self._tls is not None else None,
            )
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            # A failed TLS handshake ends here as well; it is the client's affair, as it is without a load balancer.
            log.info("connection failed before it began", peer=peer, error=str(error) or type(error).__name__)
            connection.close()
        except BaseException:
            connection.close()
            raise

    async def _client_behind(self, connection: socket.socket, peer: str) -> str:
        """The client's address. ValueError, OSError, EOFError or TimeoutError: a trusted peer did not name it."""
        if not is_in(peer, self._trusted):
            return ""
        try:
            async with asyncio.timeout(self._patience_s):
                return await client_named(Octets(connection))
        except (OSError, EOFError, TimeoutError, ValueError):
            FAILED.inc()
            raise


async def listening_sockets(host: str, port: int, *, reuse_port: bool, backlog: int) -> list[socket.socket]:
    """Listening sockets for every address of `host`. OSError when one cannot be bound."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    listening: list[socket.socket] = []
    try:
        for family, _, _, _, address in found:
            each = socket.create_server(address[:2], family=family, backlog=backlog, reuse_port=reuse_port)
            each.setblocking(False)  # noqa: FBT003 — no keyword there
            listening.append(each)
    except OSError:
        for each in listening:
            each.close()
        raise
    return listening
