"""One SMTP connection to an MX host: replies in the order of commands, however many are on their way.

Builds on aiosmtplib's protocol and replaces what it lacks: a queue of replies instead of a single waiter (RFC 2920),
content sent as it is, and a time-out for each phase.
"""

import asyncio
import math
import re
import ssl
from collections import deque
from typing import cast

from aiosmtplib.protocol import SMTPProtocol
from prometheus_client import Gauge

from delivery.attempt.classify import ConnectionBroke
from jetpost.mail.reply import Reply

OPEN = Gauge("jetpost_delivery_connections", "Connections open to MX hosts now.")

_LONGEST_REPLY = 64 * 1024
"""Octets of one reply; RFC 5321, 4.5.3.1.5 allows 512 for each line, and no host that is sane has a hundred lines."""
_MOST_UNREAD = 16 * 1024 * 1024
"""Octets of replies that nobody has read yet: a group of commands has many on their way."""
_NO_TEXT = re.compile(r"[\0-\x08\n-\x1f\x7f]")
"""What a reply may not contain (RFC 5321, 4.2), and nobody wants in a log or a report."""
_LEAST_S = 0.001


class Connection(SMTPProtocol):
    """An open connection. Methods return values; a broken connection is one as well."""

    def __init__(self, name: str) -> None:
        super().__init__(loop=asyncio.get_running_loop())
        self.name = name
        """The MX host's name."""
        self.extensions: dict[str, str] = {}
        """EHLO keyword → parameters."""
        self.tls = ""
        """TLS version and cipher; empty on a plain connection."""
        self.transactions = 0
        self.until = math.inf
        """On the loop's clock: when the attempt it is used for has had its time, and all waiting ends."""
        self._answers: deque[Reply] = deque()
        self._lines: list[str] = []
        self._reply_octets = 0
        self._unread = 0
        self._waiter: asyncio.Future[None] | None = None
        self._broken: str | None = None
        self._is_counted = False

    @property
    def usable(self) -> bool:
        """Whether a transaction may begin: open, and nothing unexpected was said meanwhile."""
        return self._broken is None and not self._answers and self.is_connected

    @property
    def is_secure(self) -> bool:
        """Whether TLS is on."""
        return bool(self.tls)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop; again after STARTTLS."""
        if not self._is_counted:
            self._is_counted = True
            OPEN.inc()
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop: whoever waits learns of it."""
        self._uncount()
        super().connection_lost(exc)
        self._break(str(exc) if exc else "closed the connection")

    def eof_received(self) -> bool:
        """Called by the event loop: the host says no more."""
        self._break("closed the connection")
        return False

    def data_received(self, data: bytes) -> None:
        """Called by the event loop: collects replies, line by line. A host that will not end one is broken."""
        self._buffer += data
        self._unread += len(data)
        while self._broken is None and (end := self._buffer.find(b"\n")) >= 0:
            line = _NO_TEXT.sub("?", self._buffer[:end].decode("utf-8", "replace").rstrip("\r"))
            del self._buffer[: end + 1]
            self._reply_octets += end + 1
            if self._reply_octets <= _LONGEST_REPLY:
                self._line(line)
        if self._reply_octets + len(self._buffer) > _LONGEST_REPLY or self._unread > _MOST_UNREAD:
            self._buffer.clear()
            self._break("sent a reply without an end")
            self.abort()

    def _line(self, line: str) -> None:
        code = line[:3]
        if not code.isascii() or not code.isdigit():
            self._break(f"sent something that is no SMTP reply: {line[:80]!r}")
            self.abort()
            return
        self._lines.append(line[4:])
        if line[3:4] != "-":
            self._answers.append(Reply.heard(int(code), self._lines))
            self._lines = []
            self._reply_octets = 0
            self._wake()

    def _break(self, why: str) -> None:
        self._broken = self._broken or why
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def reply(self, timeout_s: float) -> Reply | ConnectionBroke:
        """The next reply, cut to what is worth keeping. After a time-out the connection is of no use any more."""
        answer = await self.whole_reply(timeout_s)
        return answer.brief() if isinstance(answer, Reply) else answer

    async def whole_reply(self, timeout_s: float) -> Reply | ConnectionBroke:
        """The same as it was said: EHLO is answered with a list."""
        allowed_s = self._allowed(timeout_s)
        while not self._answers:
            if self._broken is not None:
                return ConnectionBroke(self._broken)
            self._waiter = self._loop.create_future()
            try:
                async with asyncio.timeout(allowed_s):
                    await self._waiter
            except TimeoutError:
                self._break(_in_vain("no answer", allowed_s, timeout_s))
                self.abort()
        answer = self._answers.popleft()
        if not self._answers:
            self._unread = 0
        return answer

    def send(self, octets: bytes) -> None:
        """Write octets; on a broken connection nothing, since `reply` tells."""
        if self.is_connected:
            self.write(octets)

    async def sent(self, timeout_s: float) -> ConnectionBroke | None:
        """Wait until what was written has gone out far enough for more."""
        if self._broken is not None:
            return ConnectionBroke(self._broken)
        allowed_s = self._allowed(timeout_s)
        try:
            async with asyncio.timeout(allowed_s):
                await self._drain_helper()
        except TimeoutError:
            self._break(_in_vain("took no content", allowed_s, timeout_s))
            self.abort()
        except OSError as error:
            self._break(str(error) or "connection reset")
        return None if self._broken is None else ConnectionBroke(self._broken)

    async def command(self, line: str, timeout_s: float) -> Reply | ConnectionBroke:
        """Send one command and wait for its reply."""
        self.send(f"{line}\r\n".encode())
        return await self.reply(timeout_s)

    def abort(self) -> None:
        """Break the connection off, unsent data and all."""
        if self.transport is not None:
            cast("asyncio.Transport", self.transport).abort()

    async def quit(self, timeout_s: float) -> None:
        """Say goodbye as RFC 5321, 4.1.1.10 asks, and close."""
        if self.usable:
            await self.command("QUIT", timeout_s)
        if self.transport is not None:
            self.transport.close()

    async def secure(self, context: ssl.SSLContext, timeout_s: float) -> str | None:
        """The TLS handshake. Nothing that came in clear survives (RFC 3207, 4.2). None, or why it failed."""
        self._buffer.clear()
        self._answers.clear()
        self._lines, self._reply_octets = [], 0
        if not self.is_connected:
            return self._insecure("closed the connection")
        try:
            secured = await self._loop.start_tls(
                cast("asyncio.Transport", self.transport),
                self,
                context,
                server_hostname=self.name,
                ssl_handshake_timeout=max(self._allowed(timeout_s), _LEAST_S),
            )
        except (OSError, RuntimeError) as error:  # ssl.SSLError is an OSError; RuntimeError: closed just now
            return self._insecure(str(error) or type(error).__name__)
        # A connection that was closed during the handshake is no error to the loop: it comes back without a cipher.
        cipher = None if secured is None else secured.get_extra_info("cipher")
        if secured is None or cipher is None:
            return self._insecure("closed the connection")
        self.transport = secured
        self._over_ssl = True
        self.tls = f"{secured.get_extra_info('ssl_object').version()} {cipher[0]}"
        return None

    def give(self, seconds: float) -> None:
        """What follows has a time of its own, from now on."""
        self.until = self._loop.time() + seconds

    def _allowed(self, timeout_s: float) -> float:
        return max(min(timeout_s, self.until - self._loop.time()), 0)

    def _insecure(self, why: str) -> str:
        """The handshake failed: nothing more can be said, and the loop does not tell that the connection is gone."""
        self._break(f"TLS failed: {why}")
        self.abort()
        self._uncount()
        return f"TLS failed: {why}"

    def _uncount(self) -> None:
        if self._is_counted:
            self._is_counted = False
            OPEN.dec()


def _in_vain(what: str, waited_s: float, timeout_s: float) -> str:
    return f"{what} within {timeout_s:g} s" if waited_s >= timeout_s else f"{what} until the attempt had had its time"
