"""One SMTP connection to an MX host: replies in the order of commands, however many are on their way.

It knows how many replies the host owes. What comes beyond them is no answer: an idle connection ends with it, and one
that is in use says so instead of sending the next command.
"""

import asyncio
import math
import ssl
from collections import deque
from collections.abc import Callable

from delivery.classify.phases import ConnectionBroke
from delivery.connect.extensions import Limits
from delivery.connect.replies import AFTER_DOT, ORDINARY, ReplyReader, Step, brief
from delivery.connect.wire import Wire
from jetpost.mail.reply import Reply
from jetpost.watched import Stamps

_PIECE = 16 * 1024
"""Bytes of replies that are looked at together."""


class Connection(Wire):
    """An open connection. Methods return values; a broken connection is one as well."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.extensions: dict[str, str] = {}
        """EHLO keyword → parameters, of those that are used."""
        self.is_lmtp = False
        """Whether the host speaks LMTP: it replies to content once for each recipient that it accepted (RFC 2033)."""
        self.limits = Limits()
        """What the host takes on this connection."""
        self.tls_files: Stamps = ()
        """What the files looked like that its TLS was made with."""
        self.transactions = 0
        self.until = math.inf
        """On the loop's clock: when the attempt it is used for has had its time, and all waiting ends."""
        self._reader = ReplyReader()
        self._answers: deque[Reply] = deque()
        self._owed = 1  # the greeting
        self._awaits_dot = False
        """Whether the reply that is owed is the one to the final dot."""
        self._early: Reply | None = None
        """A reply that nothing had asked for."""
        self._is_listening = False
        """Whether such a reply is looked for."""
        self._when_dropped: Callable[[], None] | None = None
        """Set while it is idle."""
        self._is_in_handshake = False
        self._turn_is_due = False
        self._waiter: asyncio.Future[None] | None = None
        self._broken: str | None = None

    @property
    def usable(self) -> bool:
        """Whether a transaction may begin: open, and nothing unexpected was said meanwhile."""
        in_step = not self._owed and not self._answers and self._early is None and self._reader.is_clean
        return self._broken is None and in_step and self.is_connected

    @property
    def has_heard(self) -> bool:
        """Whether the host has said anything that nobody has asked for yet."""
        return bool(self._answers) or self._early is not None or not self._reader.is_clean or bool(self._raw)

    def rest(self, when_dropped: Callable[[], None]) -> None:
        """Nothing is expected from now on: the first byte ends the connection, and `when_dropped` is called."""
        self._when_dropped = when_dropped

    def wake(self) -> None:
        """It is used again, or closed."""
        self._when_dropped = None

    def send(self, data: bytes, *, replies: int = 1) -> None:
        """Write commands that ask for so many `replies`; on a broken connection nothing, since `reply` tells."""
        if not self._owed and not self._answers and not (self._reader.is_clean and self._early is None):
            replies -= self._hear_unasked()
        self._owed += replies
        self.write(data)
        if not self._reader.is_clean:
            self._work()

    async def reply(self, timeout_s: float) -> Reply | ConnectionBroke:
        """The next reply, cut to what is worth keeping. After a time-out the connection is of no use any more."""
        answer = await self.whole_reply(timeout_s)
        return brief(answer) if isinstance(answer, Reply) else answer

    async def whole_reply(self, timeout_s: float) -> Reply | ConnectionBroke:
        """The same as it was said: EHLO is answered with a list."""
        allowed_s = self._allowed(timeout_s)
        deadline = self._loop.time() + allowed_s
        while not self._answers:
            if self._broken is not None:
                return ConnectionBroke(self._broken)
            if not await self._woken(deadline):
                self._end(_in_vain("no answer", allowed_s, timeout_s))
                self.abort()
        return self._answers.popleft()

    async def command(self, line: str, timeout_s: float) -> Reply | ConnectionBroke:
        """Send one command and wait for its reply."""
        self.send(f"{line}\r\n".encode())
        return await self.reply(timeout_s)

    def begin_content(self) -> None:
        """The host waits for content: `sent` tells when it says something before the content has ended."""
        self._is_listening = True
        if not self._reader.is_clean or self.has_more:
            self._work()

    async def sent(self, timeout_s: float) -> Reply | ConnectionBroke | None:
        """Wait until what was written has gone out far enough for more; what the host said, or why it broke."""
        allowed_s = self._allowed(timeout_s)
        deadline = self._loop.time() + allowed_s
        while True:
            if self._early is not None:
                return self._early.brief()
            if self._broken is not None:
                return ConnectionBroke(self._broken)
            if self.is_connected and not self._is_full:
                return None
            if not await self._woken(deadline):
                self._end(_in_vain("took no content", allowed_s, timeout_s))
                self.abort()

    def end_content(self, data: bytes, *, replies: int = 1) -> None:
        """Write the end of the content, which asks for so many replies."""
        self._is_listening, self._awaits_dot = False, True
        self._owed += replies
        self.write(data)

    def abort(self) -> None:
        """Break the connection off, unsent data and all."""
        self._break("was given up")
        super().abort()

    async def quit(self, timeout_s: float) -> None:
        """Say goodbye as RFC 5321, 4.1.1.10 asks, and close."""
        try:
            if self.usable:
                await self.command("QUIT", timeout_s)
        finally:
            self.close(timeout_s)

    async def secure(
        self, context: ssl.SSLContext, timeout_s: float, session: ssl.SSLSession | None = None
    ) -> str | None:
        """The TLS handshake. Nothing that came in clear survives (RFC 3207, 4.2). None, or why it failed.

        `session` is that of an earlier connection, to be resumed where the host agrees.
        """
        self._reader, self._early = ReplyReader(), None
        self._answers.clear()
        self._begin_tls(context, session)
        allowed_s = self._allowed(timeout_s)
        deadline = self._loop.time() + allowed_s
        self._is_in_handshake = True
        try:
            while not (step := self._handshake()):
                if not await self._woken(deadline):
                    step = _in_vain("no answer", allowed_s, timeout_s)
                    break
        finally:
            self._is_in_handshake = False
        if isinstance(step, str):
            self._break(f"TLS failed: {step}")
            self.abort()
            return f"TLS failed: {step}"
        if self._owed:
            self._work()  # the greeting may have come with the end of the handshake
        return None

    def give(self, seconds: float) -> None:
        """What follows has a time of its own, from now on."""
        self.until = self._loop.time() + seconds

    def _readable(self) -> None:
        if self._is_in_handshake:
            self._wake()
        elif not self._turn_is_due:
            self._work()

    def _writable(self) -> None:
        self._wake()

    def _work(self) -> None:
        """One turn: look for the replies that are owed in what has come. What takes longer is left for the next."""
        self._turn_is_due = False
        while self._broken is None:
            heard: Reply | Step = Step.WAIT
            if self._reader.unread and (self._owed or (self._is_listening and self._early is None)):
                heard = self._reader.next(AFTER_DOT if self._awaits_dot else ORDINARY)
            if isinstance(heard, Reply):
                self._heard(heard)
            elif heard is Step.TURN:
                self._turn_is_due = True
                self._loop.call_soon(self._work)
                return
            elif heard is Step.ENDLESS:
                self._give_up("sent a reply without an end")
            elif not self._read():
                return

    def _read(self) -> bool:
        """Take more of what has come; whether there was any."""
        if self._reader.unread > _PIECE:
            return False  # nobody asks for it: it waits where reading stops
        if not self.has_more:
            return False
        data = self.take(_PIECE)
        if self._when_dropped is not None and (data or self._over is not None):
            dropped, self._when_dropped = self._when_dropped, None
            self._break("spoke or left while it was idle")
            self.abort()
            dropped()
        elif data:
            self._reader.feed(data)
        elif self._over is not None and (self._owed or self._is_listening):
            self._end(self._over)
            self.abort()
        elif self._over is not None:
            self._is_listening = True  # whatever the host said before it left answers what is sent next
            return True
        return bool(data)

    def _heard(self, reply: Reply) -> None:
        if not self._owed:
            self._early = reply
        elif self._awaits_dot and reply.is_positive and self.has_unsent:
            self._break(f"said {reply.code} before it had the content")
            self.abort()
        else:
            # Of a group's replies only the text worth keeping waits in memory; EHLO, whose list counts, comes alone.
            self._answers.append(brief(reply) if self._answers or self._owed > 1 else reply)
            self._owed -= 1
            self._awaits_dot = self._awaits_dot and self._owed > 0
        self._wake()

    def _hear_unasked(self) -> int:
        """Something has come since the last reply. A refusal answers what is sent next; a "yes" answers nothing.

        How many replies it gave.
        """
        self._is_listening = True
        self._work()
        self._is_listening = False
        early, self._early = self._early, None
        if early is None:
            return 0
        if early.is_positive:
            self._break("said something that nobody had asked for")
            self.abort()
            return 0
        self._answers.append(early)
        return 1

    def _give_up(self, why: str) -> None:
        """Too much came. Of a reply to content the code counts all the same: who does not hear it sends it again."""
        if self._awaits_dot or self._is_listening:
            self._end(why)
        self._break(why)
        self.abort()

    def _end(self, why: str) -> None:
        """Nothing more comes. A reply that was begun counts as far as its code is known."""
        reply = self._reader.end()
        if reply is not None and (self._owed or (self._is_listening and self._early is None)):
            self._heard(reply)
        self._break(why)

    def _break(self, why: str) -> None:
        self._broken = self._broken or why
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _woken(self, deadline: float) -> bool:
        """Wait until something has happened; False when nothing did."""
        self._waiter = self._loop.create_future()
        try:
            async with asyncio.timeout_at(deadline):
                await self._waiter
        except TimeoutError:
            return False
        return True

    def _allowed(self, timeout_s: float) -> float:
        return max(min(timeout_s, self.until - self._loop.time()), 0)


def _in_vain(what: str, waited_s: float, timeout_s: float) -> str:
    return f"{what} within {timeout_s:g} s" if waited_s >= timeout_s else f"{what} until the attempt had had its time"
