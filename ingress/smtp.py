"""Octets ↔ commands: the aiosmtpd protocol without its read loop, and with a buffer and a timer of its own."""

import asyncio
import math
import ssl
from functools import lru_cache
from typing import cast

from aiosmtpd.smtp import SMTP

from ingress.connections import CLOSING, Connections, Place
from ingress.conversation import Conversation, SessionContext, Work
from ingress.policy.verdict import Refuse
from ingress.rejections import turned_away
from ingress.session.arrived import Arrived
from ingress.session.transaction import Session
from jetpost.mail.reply import EnhancedStatus, Reply
from jetpost.reason import reason_of
from jetpost.telemetry.log import logger

_MOST_UNREAD_BYTES = 16 * 1024
"""Replies that wait unread by the client before it is made to wait."""
_SMALL_BYTES = 4 * 1024
"""What has arrived, and is answered at once whoever waits: it takes a moment."""
_LINGER_S = 30.0
"""How long the last words may wait to be read; less where `idle_s` is."""
_TIMEOUT = Refuse(Reply(421, EnhancedStatus(4, 4, 2), ("Timeout, closing",)), "timeout")

log = logger(__name__)
_wire = lru_cache(maxsize=512)(Reply.wire)


class Smtp(SMTP):
    """One connection.

    Of aiosmtpd remain the protocol's life and its place in asyncio. Its read loop is replaced: it handles a line at a
    time, each with a timer, three log lines, a wait and a drained write. Here commands are answered where they arrive,
    and only what takes time (a commit, a password, a handshake) is a task.
    """

    transport: asyncio.Transport | None

    def __init__(
        self, context: SessionContext, connections: Connections, tls: ssl.SSLContext | None, place: Place | None
    ) -> None:
        # Not aiosmtpd's own constructor: it searches every attribute of handler and protocol with `dir` and
        # `inspect.getmembers` for each connection: 320 µs against 6 µs, more than a whole transaction costs here.
        loop = asyncio.get_running_loop()
        asyncio.StreamReaderProtocol.__init__(self, None, None, loop)  # type: ignore[arg-type]
        self.loop = loop
        self.transport = None
        self._original_transport = None
        self._context = context
        self._connections = connections
        self._tls_context = tls
        self._place = place
        self._conversation: Conversation | None = None
        self._arrived = Arrived()
        self._out: list[bytes] = []
        self._work: asyncio.Task[None] | None = None
        self._arrival: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = math.inf
        self._last_moment = loop.time() + context.limits.session_s
        self._reading_paused = False
        self._writing_paused = False
        self._awaits_turn = False
        self._is_greedy = False
        self._is_winding_up = False
        self._is_shaking_hands = False
        self._goes_with: Refuse | None = None
        self._ended = False
        self.held_bytes = 0
        self.heard_at = loop.time()

    # ── the life of the connection, as asyncio tells it ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the session, or turn the client away."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's are none by name
        peer = transport.get_extra_info("peername")
        listener = self._context.listener.name
        client = peer[0] if peer else "127.0.0.1"
        place = self._place or self._connections.place(client)
        if isinstance(place, Refuse):
            turned_away(place.reason, client=client, listener=listener, why=str(place.reply))
            self.hang_up(place.reply)
            return
        self._place = place
        self.transport.set_write_buffer_limits(_MOST_UNREAD_BYTES)
        self._connections.begin(self, listener)
        session = Session(place.client, tls=_tls_facts(transport))
        self._conversation = Conversation(self, self._context, session)
        self._look_at_the_clock()
        self._conversation.begin()
        self._proceed()

    def data_received(self, data: bytes) -> None:
        """Keep what arrives, and go on with it."""
        if self._ended:
            return
        self._arrived.put(data)
        self.heard_at = self.loop.time()
        self._proceed()
        self._account()

    def eof_received(self) -> bool:
        """The client says no more; what it said is still answered, on a connection that can be half closed."""
        self._ended = True
        self._proceed()
        return self._conversation is not None and not self._conversation.session.tls

    def connection_lost(self, _: Exception | None) -> None:
        """All is over. A commit in flight goes on: cancelling it would leave in doubt what became of the message."""
        self.transport = None
        self._arrived.clear()
        self._ended = True
        self._writing_paused = False
        if self._timer is not None:
            self._timer.cancel()
        self._connections.hold(self, 0)
        self._connections.end(self)
        if self._place is not None:
            self._place.leave()
        if self._work is not None:
            self._wake()
        elif self._conversation is not None:
            self._leave()

    def pause_writing(self) -> None:
        """The client does not read its replies: do nothing for it until it does, and read nothing."""
        self._writing_paused = True

    def resume_writing(self) -> None:
        """It reads again."""
        self._writing_paused = False
        self._proceed()

    @property
    def spare_bytes(self) -> int:
        """What is given back when it is turned away: all, but the message of which 250 may be said in a moment."""
        if self._ended or self._is_shaking_hands or self._conversation is None:
            return 0
        return min(len(self._arrived), self.held_bytes) if self._conversation.is_committing else self.held_bytes

    def _account(self) -> None:
        """Say how much is kept in memory for this client."""
        held = len(self._arrived.octets)
        if self._conversation is not None:
            held += self._conversation.held_bytes
        if self._writing_paused and self.transport is not None:
            held += self.transport.get_write_buffer_size()
        if held != self.held_bytes and not self._ended:
            self._connections.hold(self, held)

    # ── what the conversation asks for ──

    async def line(self) -> bytes:
        """The next line without its CRLF, within a command that has more than one. ConnectionError when none comes."""
        while (line := self._arrived.line()) is None:
            self._flush()
            if self._is_winding_up:
                self.hang_up(CLOSING)
            self._listen()
            if self._ended:
                raise ConnectionResetError
            self._arrival = self.loop.create_future()
            try:
                await self._arrival
            finally:
                self._arrival = None
                self._deadline = math.inf
        return line

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
        self._arrived.clear()
        self._close()
        self._wake()

    def turn_away(self, refusal: Refuse) -> None:
        """End now, and count and log why; what was kept in memory for the client is given up."""
        if self._conversation is not None and self._conversation.is_committing:
            self._arrived.clear()
            self._goes_with = refusal  # not before the client has heard what became of its message
            self._pause_reading()
            return
        self._turn_away(refusal.reason, str(refusal.reply))
        self.hang_up(refusal.reply)
        if self._work is None and self._conversation is not None:
            self._leave()

    def wind_up(self) -> None:
        """End as soon as no transaction is in flight."""
        self._is_winding_up = True
        is_waiting = self._work is None or self._arrival is not None
        if is_waiting and not self._is_in_transaction():
            self.hang_up(CLOSING)

    async def start_tls(self) -> str:
        """Shake hands; TLS version and cipher (RFC 3207, 4). ConnectionError when that fails."""
        assert self._tls_context is not None
        await self._connections.handshakes.turn()
        transport = self.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError
        self._resume_reading()
        # Whatever was sent ahead in clear is forgotten before the client hears 220 (RFC 3207, 4.2; CVE-2024-34083).
        self._arrived.clear()
        self._flush()
        self._is_shaking_hands = True
        try:
            upgraded = await self.loop.start_tls(
                transport,
                self,
                self._tls_context,
                server_side=True,
                ssl_handshake_timeout=self._context.limits.handshake_s,
            )
        except (OSError, TimeoutError) as error:  # ssl.SSLError is an OSError
            self._turn_away("handshake", reason_of(error))
            transport.abort()
            raise ConnectionResetError from error
        finally:
            self._is_shaking_hands = False
        if upgraded is None:
            raise ConnectionResetError
        self.transport = upgraded
        upgraded.set_write_buffer_limits(_MOST_UNREAD_BYTES)
        return _tls_facts(upgraded)

    # ── going on, waiting and writing ──

    def _proceed(self) -> None:
        """Go on, unless an earlier command takes its time, or the client is to read first, or it is others' turn.

        Then it will go on from here, and reads nothing before.
        """
        if self._work is not None and self._arrival is not None:
            self._wake()
        elif self._conversation is None:
            return
        elif self._work is not None or self._awaits_turn:
            self._pause_reading()
        elif self._writing_paused:
            self._await_reader()
        elif self._is_greedy or (len(self._arrived.octets) > _SMALL_BYTES and not self._connections.turns.is_free()):
            self._await_turn()
        else:
            self._take_turn()

    def _take_turn(self) -> None:
        """Answer what has arrived, or as much of it as a turn allows."""
        assert self._conversation is not None
        self._deadline = math.inf
        work = self._conversation.proceed(self._arrived)
        self._flush()
        if work is not None:
            self._work = self.loop.create_task(self._carry_out(work))
        elif self._conversation.has_more:
            self._is_greedy = True
            self._await_turn()
        elif self._ended or self._conversation.is_over:
            self._leave()
        elif self._is_winding_up and not self._is_in_transaction():
            self.hang_up(CLOSING)
        elif self._writing_paused:
            self._await_reader()
        else:
            self._listen()

    def _await_turn(self) -> None:
        """Go on when the others who wait have had their turns."""
        self._awaits_turn = True
        self._pause_reading()
        self._connections.turns.wait(self._turn_has_come)

    def _turn_has_come(self) -> None:
        self._awaits_turn = False
        if self._writing_paused:
            self._await_reader()
        elif self._work is None:
            self._take_turn()
        self._account()

    def _await_reader(self) -> None:
        """Read nothing until the client has read its replies, for as long as it may be idle."""
        self._pause_reading()
        if self._deadline == math.inf:
            self._deadline = min(self.loop.time() + self._context.limits.idle_s, self._last_moment)

    async def _carry_out(self, work: Work) -> None:
        try:
            await work
        except ConnectionError:
            pass  # the client is gone, or was told to go
        finally:
            self._work = None
            if self._goes_with is not None and not self._ended:
                self.turn_away(self._goes_with)
            if self._conversation is not None and not self._conversation.session.fruitless:
                self._is_greedy = False
            self._proceed()
            self._account()

    def _leave(self) -> None:
        """Nothing more will be answered."""
        self._close()
        assert self._conversation is not None
        if (clearing_up := self._conversation.abandon()) is not None:
            self._work = self.loop.create_task(self._carry_out(clearing_up))

    def _listen(self) -> None:
        """It is the client's turn, and its time runs, unless it ran out while we were busy."""
        now = self.loop.time()
        if now >= self._last_moment:
            self._time_is_up()
            return
        self._deadline = min(now + self._context.limits.idle_s, self._last_moment)
        if self._reading_paused:
            self._resume_reading()

    def _pause_reading(self) -> None:
        """Leave in the socket what the client sends; not within a handshake, whose octets are not for us."""
        if self._reading_paused or self._is_shaking_hands or self.transport is None or self.transport.is_closing():
            return
        self._reading_paused = True
        self.transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._reading_paused and self.transport is not None and not self.transport.is_closing():
            self._reading_paused = False
            self.transport.resume_reading()

    def _close(self) -> None:
        """Close the connection; what the client does not read in time is lost."""
        self._ended = True
        if self.transport is None:
            return
        if self._writing_paused:
            self.transport.abort()  # it does not read; closing would wait for it
            return
        self.transport.close()
        if self._timer is not None:
            self._timer.cancel()
        patience_s = min(self._context.limits.idle_s, _LINGER_S)
        self._timer = self.loop.call_later(patience_s, self.transport.abort)

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    def _is_in_transaction(self) -> bool:
        return self._conversation is not None and self._conversation.session.in_transaction

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
            self._time_is_up()
            return
        next_look = min(self._deadline, now + self._context.limits.idle_s)
        if now < self._last_moment:
            next_look = min(next_look, self._last_moment)
        self._timer = self.loop.call_at(next_look, self._look_at_the_clock)

    def _time_is_up(self) -> None:
        if not self._ended:
            self.turn_away(_TIMEOUT)

    def _turn_away(self, reason: str, why: str) -> None:
        assert self._place is not None
        turned_away(reason, client=self._place.client, listener=self._context.listener.name, why=why)


def _tls_facts(transport: asyncio.BaseTransport) -> str:
    """TLS version and cipher of the connection; empty when it is plain."""
    ssl_object = transport.get_extra_info("ssl_object")
    cipher = ssl_object.cipher() if ssl_object is not None else None
    return f"{ssl_object.version()} {cipher[0]}" if cipher else ""
