"""Bytes ↔ commands: one connection as asyncio tells of it. Commands are answered where they arrive."""

import asyncio
import ssl
from typing import cast

from ingress.listen.connections import CLOSING, Connections, Slot
from ingress.policy.verdict import Refuse
from ingress.rejections import connection_rejected
from ingress.session.lines import LineBuffer
from ingress.session.session import Session
from ingress.smtp.channel import Channel
from ingress.smtp.clock import Clock
from ingress.smtp.context import SessionContext
from ingress.smtp.dialogue import Dialogue, Work
from jetpost.mail.reply import EnhancedStatus, Reply
from jetpost.reason import reason_of

_SMALL_BYTES = 4 * 1024
"""What has arrived, and is answered at once whoever waits: it takes a moment."""
_TIMEOUT = Refuse(Reply(421, EnhancedStatus(4, 4, 2), ("Timeout, closing",)), "timeout")


class SmtpProtocol(asyncio.Protocol):
    """One connection.

    A command is answered in the call that brings its last byte. Only what takes time (a commit, a password, a
    handshake) is a task.
    """

    def __init__(
        self, context: SessionContext, connections: Connections, tls: ssl.SSLContext | None, slot: Slot | None
    ) -> None:
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._context = context
        self._connections = connections
        self._tls_context = tls
        self._slot = slot
        self._channel = Channel()
        self._clock = Clock(loop, context.limits, self._time_is_up)
        self._dialogue: Dialogue | None = None
        self._lines = LineBuffer()
        self._work: asyncio.Task[None] | None = None
        self._arrival: asyncio.Future[None] | None = None
        self._awaits_turn = False
        self._exceeded_turn = False
        self._is_winding_up = False
        self._rejected_later: Refuse | None = None
        self._ended = False
        self.held_bytes = 0
        self.heard_at = loop.time()

    # ── the life of the connection, as asyncio tells it ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the session, or reject the connection."""
        peer = transport.get_extra_info("peername")
        listener = self._context.listener.name
        client = peer[0] if peer else "127.0.0.1"
        slot = self._slot or self._connections.slot(client)
        self._channel.open(cast("asyncio.Transport", transport))  # uvloop's are none by name
        if isinstance(slot, Refuse):
            connection_rejected(slot.reason, client=client, listener=listener, why=str(slot.reply))
            self.hang_up(slot.reply)
            return
        self._slot = slot
        self._connections.begin(self, listener)
        self._dialogue = Dialogue(self, self._context, Session(slot.client, tls=self._channel.tls))
        self._clock.start()
        if (work := self._dialogue.begin()) is not None:
            self._work = self._loop.create_task(self._carry_out(work))
        self._proceed()

    def data_received(self, data: bytes) -> None:
        """Keep what arrives, and go on with it."""
        if self._ended:
            return
        self._lines.put(data)
        self.heard_at = self._loop.time()
        self._proceed()
        self._account()

    def eof_received(self) -> bool:
        """The client says no more; what it said is still answered, on a connection that can be half closed."""
        self._ended = True
        self._proceed()
        return self._dialogue is not None and not self._dialogue.session.tls

    def connection_lost(self, _: Exception | None) -> None:
        """All is over. A commit in flight goes on: cancelling it would leave in doubt what became of the message."""
        self._channel.lost()
        self._lines.clear()
        self._ended = True
        self._clock.stop()
        self._connections.hold(self, 0)
        self._connections.end(self)
        if self._slot is not None:
            self._slot.leave()
        if self._work is not None:
            self._wake()
        elif self._dialogue is not None:
            self._leave()

    def pause_writing(self) -> None:
        """The client does not read its replies: do nothing for it until it does, and read nothing."""
        self._channel.writing_paused = True

    def resume_writing(self) -> None:
        """It reads again."""
        self._channel.writing_paused = False
        self._proceed()

    # ── what the connections of this process ask for ──

    @property
    def spare_bytes(self) -> int:
        """What is given back when it is rejected: all, but the message of which 250 may be said in a moment."""
        if self._ended or self._channel.is_shaking_hands or self._dialogue is None:
            return 0
        return min(len(self._lines), self.held_bytes) if self._dialogue.is_committing else self.held_bytes

    def reject(self, refusal: Refuse) -> None:
        """End now, and count and log why; what was kept in memory for the client is given up."""
        if self._dialogue is not None and self._dialogue.is_committing:
            self._lines.clear()
            self._rejected_later = refusal  # not before the client has heard what became of its message
            self._channel.pause_reading()
            return
        self._log_rejection(refusal.reason, str(refusal.reply))
        self.hang_up(refusal.reply)
        if self._work is None and self._dialogue is not None:
            self._leave()

    def wind_up(self) -> None:
        """End as soon as no transaction is in flight."""
        self._is_winding_up = True
        is_waiting = self._work is None or self._arrival is not None
        if is_waiting and not self._is_in_transaction():
            self.hang_up(CLOSING)

    def _account(self) -> None:
        """Say how much is kept in memory for this client."""
        held = len(self._lines.unread) + self._channel.unread_bytes
        if self._dialogue is not None:
            held += self._dialogue.held_bytes
        if held != self.held_bytes and not self._ended:
            self._connections.hold(self, held)

    # ── what the dialogue asks for ──

    async def line(self) -> bytes:
        """The next line without its CRLF, within a command that has more than one. ConnectionError when none comes."""
        while (line := self._lines.line()) is None:
            self._channel.flush()
            if self._is_winding_up:
                self.hang_up(CLOSING)
            self._listen()
            if self._ended:
                raise ConnectionResetError
            self._arrival = self._loop.create_future()
            try:
                await self._arrival
            finally:
                self._arrival = None
                self._clock.rest()
        return line

    def say(self, reply: Reply) -> None:
        """Send `reply`, together with those that follow before the next wait (RFC 2920, 3.2)."""
        self._channel.say(reply)

    def ask(self, challenge: str) -> None:
        """Send a challenge of an AUTH exchange."""
        self._channel.challenge(challenge)

    def hang_up(self, reply: Reply) -> None:
        """Say `reply` and end now."""
        if self._channel.transport is None or self._ended:
            return
        self._channel.say(reply)
        self._channel.flush()
        self._lines.clear()
        self._close()
        self._wake()

    async def start_tls(self) -> str:
        """Shake hands; TLS version and cipher (RFC 3207, 4). ConnectionError when that fails."""
        assert self._tls_context is not None
        await self._connections.handshakes.turn()
        if not self._channel.is_open:
            raise ConnectionResetError
        self._channel.resume_reading()
        # Whatever was sent ahead in clear is forgotten before the client hears 220 (RFC 3207, 4.2; CVE-2024-34083).
        self._lines.clear()
        self._channel.flush()
        try:
            is_secured = await self._channel.shake_hands(self, self._tls_context, self._context.limits.handshake_s)
        except (OSError, TimeoutError) as error:
            self._log_rejection("handshake", reason_of(error))
            raise ConnectionResetError from error
        if not is_secured:
            raise ConnectionResetError
        return self._channel.tls

    # ── going on and waiting ──

    def _proceed(self) -> None:
        """Go on, unless an earlier command takes its time, or the client is to read first, or it is others' turn.

        Then it will go on from here, and reads nothing before.
        """
        if self._work is not None and self._arrival is not None:
            self._wake()
        elif self._dialogue is None:
            return
        elif self._work is not None or self._awaits_turn:
            self._channel.pause_reading()
        elif self._channel.writing_paused:
            self._await_reader()
        elif self._exceeded_turn or (len(self._lines.unread) > _SMALL_BYTES and not self._connections.turns.is_free()):
            self._await_turn()
        else:
            self._take_turn()

    def _take_turn(self) -> None:
        """Answer what has arrived, or as much of it as a turn allows."""
        assert self._dialogue is not None
        self._clock.rest()
        work = self._dialogue.proceed(self._lines)
        self._channel.flush()
        if work is not None:
            self._work = self._loop.create_task(self._carry_out(work))
        elif self._dialogue.has_more:
            self._exceeded_turn = True
            self._await_turn()
        elif self._ended or self._dialogue.is_over:
            self._leave()
        elif self._is_winding_up and not self._is_in_transaction():
            self.hang_up(CLOSING)
        elif self._channel.writing_paused:
            self._await_reader()
        else:
            self._listen()

    def _await_turn(self) -> None:
        """Go on when the others who wait have had their turns."""
        self._awaits_turn = True
        self._channel.pause_reading()
        self._connections.turns.wait(self._turn_has_come)

    def _turn_has_come(self) -> None:
        self._awaits_turn = False
        if self._channel.writing_paused:
            self._await_reader()
        elif self._work is None:
            self._take_turn()
        self._account()

    def _await_reader(self) -> None:
        """Read nothing until the client has read its replies, for as long as it may be idle."""
        self._channel.pause_reading()
        self._clock.await_reader()

    async def _carry_out(self, work: Work) -> None:
        try:
            await work
        except ConnectionError:
            pass  # the client is gone, or was told to go
        finally:
            self._work = None
            if self._rejected_later is not None and not self._ended:
                self.reject(self._rejected_later)
            if self._dialogue is not None and not self._dialogue.session.commands_without_message:
                self._exceeded_turn = False
            self._proceed()
            self._account()

    def _leave(self) -> None:
        """Nothing more will be answered."""
        self._close()
        assert self._dialogue is not None
        if (clearing_up := self._dialogue.abandon()) is not None:
            self._work = self._loop.create_task(self._carry_out(clearing_up))

    def _listen(self) -> None:
        """It is the client's turn, and its time runs, unless it ran out while we were busy."""
        if self._clock.await_client():
            self._channel.resume_reading()
        else:
            self._time_is_up()

    def _close(self) -> None:
        """Close the connection; what the client does not read in time is lost."""
        self._ended = True
        transport = self._channel.transport
        if transport is None:
            return
        if self._channel.writing_paused:
            transport.abort()  # it does not read; closing would wait for it
            return
        transport.close()
        self._clock.linger(transport.abort)

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    def _is_in_transaction(self) -> bool:
        return self._dialogue is not None and self._dialogue.session.in_transaction

    def _time_is_up(self) -> None:
        if not self._ended:
            self.reject(_TIMEOUT)

    def _log_rejection(self, reason: str, why: str) -> None:
        assert self._slot is not None
        connection_rejected(reason, client=self._slot.client, listener=self._context.listener.name, why=why)
