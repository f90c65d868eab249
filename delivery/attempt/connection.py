"""One SMTP connection to an MX host: replies in the order of commands, however many are on their way.

Builds on aiosmtplib's protocol and replaces what it lacks: a queue of replies instead of a single waiter (RFC 2920),
content sent as it is, and a time-out for each phase.
"""

import asyncio
import ssl
from collections import deque
from typing import Self, cast

from aiosmtplib.protocol import SMTPProtocol
from prometheus_client import Counter, Gauge

from delivery.attempt.classify import ConnectionBroke, Phase
from delivery.attempt.config import AttemptSettings
from delivery.security.requirement import Hop, judge
from jetpost.mail.reply import Reply

OPENED = Counter(
    "jetpost_delivery_connections_opened_total", "Connections opened to MX hosts. Labels: `tls` is yes or no.", ["tls"]
)
OPEN = Gauge("jetpost_delivery_connections", "Connections open to MX hosts now.")

_LONGEST_REPLY = 64 * 1024
_opportunistic = ssl.create_default_context()
_opportunistic.check_hostname = False
_opportunistic.verify_mode = ssl.CERT_NONE


class Refusal(Exception):  # noqa: N818 — carries a value to the one place that turns it into an outcome
    """A connection could not be made ready for mail."""

    def __init__(self, phase: Phase, answer: Reply | ConnectionBroke) -> None:
        super().__init__(str(answer))
        self.phase = phase
        self.answer = answer


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
        self._answers: deque[Reply] = deque()
        self._lines: list[str] = []
        self._waiter: asyncio.Future[None] | None = None
        self._broken: str | None = None

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
        if self.transport is None:
            OPEN.inc()
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop: whoever waits learns of it."""
        if self.transport is not None:
            OPEN.dec()
        super().connection_lost(exc)
        self._break(str(exc) if exc else "closed the connection")

    def eof_received(self) -> bool:
        """Called by the event loop: the host says no more."""
        self._break("closed the connection")
        return False

    def data_received(self, data: bytes) -> None:
        """Called by the event loop: collects replies, line by line."""
        self._buffer += data
        while (end := self._buffer.find(b"\n")) >= 0:
            line = self._buffer[:end].decode("utf-8", "replace").rstrip("\r")
            del self._buffer[: end + 1]
            self._line(line)
        if len(self._buffer) > _LONGEST_REPLY or len(self._lines) > _LONGEST_REPLY // 64:
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
            self._wake()

    def _break(self, why: str) -> None:
        self._broken = self._broken or why
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def reply(self, timeout_s: float) -> Reply | ConnectionBroke:
        """The next reply. After a time-out the connection is of no use any more."""
        while not self._answers:
            if self._broken is not None:
                return ConnectionBroke(self._broken)
            self._waiter = self._loop.create_future()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._waiter
            except TimeoutError:
                self._break(f"no answer within {timeout_s:g} s")
                self.abort()
        return self._answers.popleft()

    def send(self, octets: bytes) -> None:
        """Write octets; on a broken connection nothing, since `reply` tells."""
        if self.is_connected:
            self.write(octets)

    async def sent(self, timeout_s: float) -> ConnectionBroke | None:
        """Wait until what was written has gone out far enough for more."""
        if self._broken is not None:
            return ConnectionBroke(self._broken)
        try:
            async with asyncio.timeout(timeout_s):
                await self._drain_helper()
        except TimeoutError:
            self._break(f"took no data for {timeout_s:g} s")
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
        self._lines = []
        try:
            secured = await self._loop.start_tls(
                cast("asyncio.Transport", self.transport),
                self,
                context,
                server_hostname=self.name,
                ssl_handshake_timeout=timeout_s,
            )
        except (OSError, ssl.SSLError) as error:
            self._break(f"TLS failed: {error or type(error).__name__}")
            self.abort()
            return self._broken
        if secured is None:
            return "TLS failed: connection closed"
        self.transport = secured
        self._over_ssl = True
        ssl_object = secured.get_extra_info("ssl_object")
        cipher = secured.get_extra_info("cipher")
        self.tls = f"{ssl_object.version()} {cipher[0]}"
        return None

    @classmethod
    async def open(
        cls, name: str, address: str, port: int, hostname: str, settings: AttemptSettings, *, plain: bool = False
    ) -> Self:
        """Connect, greet, and begin TLS as the settings want it. Refusal when the host cannot be used.

        `plain`: TLS has failed with this host a moment ago.
        """
        connection = await cls._connect(name, address, port, settings)
        try:
            await connection.begin(hostname, settings, plain=plain)
        except BaseException:
            connection.abort()
            raise
        OPENED.labels("yes" if connection.is_secure else "no").inc()
        return connection

    @classmethod
    async def _connect(cls, name: str, address: str, port: int, settings: AttemptSettings) -> Self:
        source = None if settings.source_address is None else (str(settings.source_address), 0)
        timeout_s = settings.timeouts.connect_s
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                _, connection = await loop.create_connection(lambda: cls(name), address, port, local_addr=source)
        except TimeoutError:
            broke = ConnectionBroke(f"{address} did not answer within {timeout_s:g} s")
            raise Refusal(Phase.CONNECT, broke) from None
        except OSError as error:
            raise Refusal(Phase.CONNECT, ConnectionBroke(error.strerror or str(error))) from error
        return connection

    async def begin(self, hostname: str, settings: AttemptSettings, *, plain: bool) -> None:
        """Greeting, EHLO, and TLS as the settings want it. Refusal when the host cannot be used."""
        await self._expect(Phase.GREETING, settings.timeouts.greeting_s)
        await self._greet(hostname, settings)
        await self._begin_tls(hostname, settings, plain=plain)

    async def _expect(self, phase: Phase, timeout_s: float) -> Reply:
        answer = await self.reply(timeout_s)
        if isinstance(answer, ConnectionBroke) or not answer.is_completion:
            raise Refusal(phase, answer)
        return answer

    async def _greet(self, hostname: str, settings: AttemptSettings) -> None:
        """EHLO, or HELO with a host that does not know it (RFC 5321, 3.2)."""
        answer = await self.command(f"EHLO {hostname}", settings.timeouts.ehlo_s)
        if isinstance(answer, Reply) and answer.is_completion:
            words = (line.upper().partition(" ") for line in answer.text[1:])
            self.extensions = {keyword: parameters for keyword, _, parameters in words}
            return
        if isinstance(answer, ConnectionBroke) or not answer.is_permanent:
            raise Refusal(Phase.EHLO, answer)
        self.extensions = {}
        self.send(f"HELO {hostname}\r\n".encode())
        await self._expect(Phase.EHLO, settings.timeouts.ehlo_s)

    async def _begin_tls(self, hostname: str, settings: AttemptSettings, *, plain: bool) -> None:
        match judge(settings.tls, offered="STARTTLS" in self.extensions, failed_before=plain):
            case Hop.PLAIN:
                return
            case Hop.REFUSE:
                raise Refusal(Phase.STARTTLS, ConnectionBroke("offers no TLS, which is required"))
            case Hop.START:
                pass
        self.send(b"STARTTLS\r\n")
        await self._expect(Phase.STARTTLS, settings.timeouts.tls_s)
        if (why := await self.secure(_opportunistic, settings.timeouts.tls_s)) is not None:
            raise Refusal(Phase.STARTTLS, ConnectionBroke(why))
        await self._greet(hostname, settings)
