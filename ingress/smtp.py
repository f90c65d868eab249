"""Octets ↔ commands: the aiosmtpd protocol with a read loop, a buffer and a timer of its own."""

import asyncio
import math
import ssl
from functools import lru_cache
from typing import cast

from aiosmtpd.smtp import SMTP

from ingress.connections import CLOSING, Connections
from ingress.conversation import Conversation, House
from ingress.session.command import MOST_AUTH_OCTETS
from ingress.session.transaction import Session
from jetpost.mail.reply import EnhancedStatus, Reply
from jetpost.process.log import logger

_HIGH_WATER = 256 * 1024
"""Octets that wait unread before the client is made to wait."""
_TIMEOUT = Reply(421, EnhancedStatus(4, 4, 2), ("Timeout, closing",))

log = logger(__name__)
_wire = lru_cache(maxsize=512)(Reply.wire)


class Smtp(SMTP):
    """One connection.

    Of aiosmtpd remain the protocol's life and its place in asyncio. Its read loop is replaced: it handles a line at a
    time, with a timer, three log lines and a drained write for each.
    """

    transport: asyncio.Transport | None

    def __init__(self, house: House, connections: Connections, tls: ssl.SSLContext | None, client: str = "") -> None:
        # Not aiosmtpd's own constructor: it searches every attribute of handler and protocol with `dir` and
        # `inspect.getmembers` for each connection: 320 µs against 6 µs, more than a whole transaction costs here.
        loop = asyncio.get_running_loop()
        asyncio.StreamReaderProtocol.__init__(self, None, None, loop)  # type: ignore[arg-type]
        self.loop = loop
        self.transport = None
        self._original_transport = None
        self._house = house
        self._connections = connections
        self._tls_context = tls
        self._client = client
        self._conversation: Conversation | None = None
        self._buffer = bytearray()
        self._searched = 0
        self._skipping = False
        self._out: list[bytes] = []
        self._arrival: asyncio.Future[None] | None = None
        self._ended = False
        self._is_winding_up = False
        self._reading_paused = self._writing_paused = False
        self._deadline = math.inf
        self._last_moment = loop.time() + house.desk.limits.session_s
        self._timer: asyncio.TimerHandle | None = None

    # ── the life of the connection, as asyncio tells it ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the session, or turn the client away."""
        asyncio.StreamReaderProtocol.connection_made(self, transport)
        self.transport = cast("asyncio.Transport", transport)  # uvloop's are none by name
        peer = transport.get_extra_info("peername")
        session = Session(self._client or (peer[0] if peer else "127.0.0.1"), tls=_tls_facts(transport))
        refusal = self._connections.admit(self, session.client_address, self._house.listener.name)
        if refusal is not None:
            self.hang_up(refusal)
            return
        self._conversation = Conversation(self, self._house, session)
        self._timer = self.loop.call_later(self._house.desk.limits.idle_s, self._look_at_the_clock)
        self._handler_coroutine = self.loop.create_task(self._handle_client())

    def data_received(self, data: bytes) -> None:
        """Keep what arrives, and wake the conversation."""
        if self._ended:
            return
        self._buffer += data
        if len(self._buffer) > _HIGH_WATER and not self._reading_paused and self.transport is not None:
            self._reading_paused = True
            self.transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        """The client says no more; what it said is still answered, on a connection that can be half closed."""
        self._end()
        return self._conversation is not None and not self._conversation.session.tls

    def connection_lost(self, error: Exception | None) -> None:
        """All is over. A commit in flight goes on: cancelling it would leave in doubt what became of the message."""
        self.transport = None
        self._buffer.clear()
        self._end()
        if self._timer is not None:
            self._timer.cancel()
        self._connections.leave(self)
        asyncio.StreamReaderProtocol.connection_lost(self, error)

    def pause_writing(self) -> None:
        """The client does not read its replies: do nothing for it until it does."""
        self._writing_paused = True

    def resume_writing(self) -> None:
        """It reads again."""
        self._writing_paused = False
        self._wake()

    async def _handle_client(self) -> None:
        assert self._conversation is not None
        try:
            await self._conversation.hold()
        except ConnectionError:
            pass  # the client is gone, or was told to go
        except Exception:
            log.exception("session failed", client=self._conversation.session.client_address)
        finally:
            self._flush()
            if self.transport is not None:
                self.transport.close()

    # ── what the conversation asks for ──

    async def line(self) -> bytes | None:
        """The next line without its CRLF; None when it was longer than any may be. ConnectionError when none comes."""
        while True:
            end = self._buffer.find(b"\r\n", self._searched)
            if end >= 0:
                line = bytes(self._buffer[:end])
                del self._buffer[: end + 2]
                self._searched = 0
                skipped, self._skipping = self._skipping, False
                return None if skipped or end + 2 > MOST_AUTH_OCTETS else line
            if len(self._buffer) > MOST_AUTH_OCTETS:
                # Nobody remembers what is too long anyway; its last octet may be the CR of the CRLF.
                self._skipping = True
                del self._buffer[:-1]
            self._searched = max(len(self._buffer) - 1, 0)
            await self._more(between_commands=True)

    async def octets(self) -> bytes:
        """What has arrived, at least one octet. ConnectionError when nothing comes."""
        while not self._buffer:
            await self._more(between_commands=False)
        octets = bytes(self._buffer)
        self._buffer.clear()
        return octets

    def unread(self, octets: bytes) -> None:
        """Put back what belongs to the next command."""
        self._buffer[:0] = octets

    def say(self, reply: Reply) -> None:
        """Send `reply`, together with those that follow before the next wait (RFC 2920, 3.2)."""
        self._out.append(_wire(reply))

    def ask(self, challenge: str) -> None:
        """Send a challenge of an AUTH exchange; an empty one keeps its space (RFC 4954, 4)."""
        self._out.append(f"334 {challenge}\r\n".encode())

    def hang_up(self, reply: Reply) -> None:
        """Say `reply` and end now."""
        if self.transport is None or self._ended:
            return
        self.say(reply)
        self._flush()
        self._buffer.clear()
        if self._writing_paused:
            self.transport.abort()  # it does not read; closing would wait for it
        else:
            self.transport.close()
        self._end()

    def wind_up(self) -> None:
        """End as soon as no transaction is in flight."""
        self._is_winding_up = True
        if self._arrival is not None and not self._is_in_transaction():
            self.hang_up(CLOSING)

    async def start_tls(self) -> str:
        """Shake hands; TLS version and cipher (RFC 3207, 4). ConnectionError when that fails."""
        assert self._tls_context is not None
        transport = self.transport
        if transport is None:
            raise ConnectionResetError
        # Whatever was sent ahead in clear is forgotten before the client hears 220 (RFC 3207, 4.2; CVE-2024-34083).
        self._buffer.clear()
        self._flush()
        try:
            upgraded = await self.loop.start_tls(
                transport,
                self,
                self._tls_context,
                server_side=True,
                ssl_handshake_timeout=self._house.desk.limits.handshake_s,
            )
        except (OSError, TimeoutError) as error:  # ssl.SSLError is an OSError
            transport.abort()
            raise ConnectionResetError from error
        if upgraded is None:
            raise ConnectionResetError
        self.transport = upgraded
        return _tls_facts(upgraded)

    # ── waiting and writing ──

    async def _more(self, *, between_commands: bool) -> None:
        """Wait until more has arrived. ConnectionError when the client is gone or must go."""
        self._flush()
        if between_commands and self._is_winding_up and not self._is_in_transaction():
            self.hang_up(CLOSING)
        if self._ended:
            raise ConnectionResetError
        self._deadline = min(self.loop.time() + self._house.desk.limits.idle_s, self._last_moment)
        try:
            if self._reading_paused and self.transport is not None:
                self._reading_paused = False
                self.transport.resume_reading()
            await self._woken()
            while self._writing_paused and not self._ended:
                await self._woken()
        finally:
            self._deadline = math.inf

    async def _woken(self) -> None:
        self._arrival = self.loop.create_future()
        try:
            await self._arrival
        finally:
            self._arrival = None

    def _is_in_transaction(self) -> bool:
        return self._conversation is not None and self._conversation.session.in_transaction

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    def _end(self) -> None:
        self._ended = True
        self._wake()

    def _flush(self) -> None:
        if self._out and self.transport is not None:
            self.transport.write(b"".join(self._out) if len(self._out) > 1 else self._out[0])
        self._out.clear()

    def _look_at_the_clock(self) -> None:
        """The one timer of the connection: it looks whether a deadline has passed instead of being set for each."""
        now = self.loop.time()
        if self._ended:
            return
        if now >= self._deadline:
            self.hang_up(_TIMEOUT)
            return
        next_look = min(self._deadline, now + self._house.desk.limits.idle_s)
        self._timer = self.loop.call_at(next_look, self._look_at_the_clock)


def _tls_facts(transport: asyncio.BaseTransport) -> str:
    """TLS version and cipher of the connection; empty when it is plain."""
    ssl_object = transport.get_extra_info("ssl_object")
    cipher = ssl_object.cipher() if ssl_object is not None else None
    return f"{ssl_object.version()} {cipher[0]}" if cipher else ""
