"""What comes before SMTP: a slot for the connection, the header of a load balancer, the TLS handshake.

A header of the PROXY protocol comes before anything else, TLS included. So connections are accepted as bare sockets
here, and handed to asyncio once the header has been read from them; and a client that never ends its handshake counts.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress

from prometheus_client import Counter
from pydantic import IPvAnyNetwork

from ingress.listen.connections import Connections, Slot
from ingress.listen.proxy_header import ExactReader, client_named
from ingress.policy.relay import is_in
from ingress.policy.verdict import Refuse
from ingress.rejections import connection_rejected
from jetpost.reason import reason_of
from jetpost.tasks import end
from jetpost.telemetry.log import logger

FAILED = Counter("jetpost_ingress_proxy_failures_total", "Connections from a load balancer without a PROXY header.")

_OUT_OF_FILES_S = 1.0
_BROKEN = (OSError, EOFError, TimeoutError, ValueError)

ProtocolOf = Callable[[Slot | None], asyncio.BaseProtocol]
"""Makes the protocol of a connection, given its slot; None: it is to take one itself."""

log = logger(__name__)


class Preamble:
    """Accepts on `sockets`. Peers in `trusted` networks must say whom they speak for; others speak for themselves.

    `listener` is its name; with `tls` there is a handshake. Header and handshake may take `timeout_s` each.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        protocol: ProtocolOf,
        connections: Connections,
        *,
        listener: str,
        trusted: tuple[IPvAnyNetwork, ...],
        tls: ssl.SSLContext | None,
        timeout_s: float,
    ) -> None:
        self._sockets = sockets
        self._protocol = protocol
        self._connections = connections
        self._listener = listener
        self._trusted = trusted
        self._tls = tls
        self._timeout_s = timeout_s
        self._accepting = [asyncio.create_task(self._accept(each), name="accept") for each in sockets]
        self._beginning: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Let nobody new in. Connections that have begun go on."""
        await end(self._accepting)
        for each in self._sockets:
            each.close()
        await end(list(self._beginning))

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, peer = await loop.sock_accept(listening)
            except OSError as error:
                log.warning("cannot accept", error=reason_of(error))
                await asyncio.sleep(_OUT_OF_FILES_S)
                continue
            self._receive(connection, peer[0])

    def _receive(self, connection: socket.socket, peer: str) -> None:
        """Give the connection a slot, or reject it."""
        is_balancer = is_in(peer, self._trusted)
        slot = self._connections.slot("" if is_balancer else peer)
        if isinstance(slot, Refuse):
            self._reject(connection, slot, peer, may_speak=not is_balancer)
            return
        task = asyncio.get_running_loop().create_task(self._begin(connection, peer, slot), name="preamble")
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)

    async def _begin(self, connection: socket.socket, peer: str, slot: Slot) -> None:
        """Learn who the client is, and hand the connection over: with it goes the slot."""
        failing = "proxy"
        try:
            if not slot.client:
                refusal = slot.belongs_to(client := await self._client_behind(connection) or peer)
                if refusal is not None:
                    slot.leave()
                    self._reject(connection, refusal, client, may_speak=True)
                    return
            failing = "handshake"
            if self._tls is not None:
                await self._hello(connection)
                await self._connections.handshakes.turn()
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: self._protocol(slot),
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=self._timeout_s if self._tls is not None else None,
            )
        except _BROKEN as error:
            self._give_up(connection, slot)
            why = reason_of(error)
            connection_rejected(failing, client=slot.client or peer, listener=self._listener, why=why)
        except BaseException:
            self._give_up(connection, slot)
            raise

    async def _client_behind(self, connection: socket.socket) -> str:
        """The client that a load balancer names; empty: itself. OSError, EOFError, TimeoutError, ValueError: nobody."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await client_named(ExactReader(connection))
        except _BROKEN:
            FAILED.inc()
            raise

    async def _hello(self, connection: socket.socket) -> None:
        """Wait until the client has begun its handshake. TimeoutError when it does not."""
        loop = asyncio.get_running_loop()
        begun = asyncio.Event()
        loop.add_reader(connection, begun.set)
        try:
            async with asyncio.timeout(self._timeout_s):
                await begun.wait()
        finally:
            loop.remove_reader(connection)

    def _reject(self, connection: socket.socket, refusal: Refuse, client: str, *, may_speak: bool) -> None:
        """Say why, where that can be understood: neither before TLS nor before a header."""
        connection_rejected(refusal.reason, client=client, listener=self._listener, why=str(refusal.reply))
        if may_speak and self._tls is None:
            with suppress(OSError):  # it may be gone already
                connection.send(refusal.reply.wire())
        connection.close()

    @staticmethod
    def _give_up(connection: socket.socket, slot: Slot) -> None:
        connection.close()
        slot.leave()


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
