"""nats-py's client, with what a process needs that must come back whatever happens to its servers.

The only file that touches what nats-py does not document. So `pyproject.toml` pins its minor version, and
`tests/unit/test_jetstream_nats_client.py` fails when one of those parts has changed.
"""

import asyncio
import contextlib
import re
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any, cast
from urllib.parse import ParseResult

from nats.aio.client import DEFAULT_BUFFER_SIZE, Client, Srv
from nats.aio.msg import Msg
from nats.aio.transport import TcpTransport
from nats.errors import Error as NatsError
from nats.protocol import parser

from jetpost.client_tls import ca_hint
from jetpost.reason import reason_of

_LONGEST_REASON = 300
_SPACE = re.compile(r"\s")
_PLACE_IN_OPENSSL = re.compile(r"^\[[^]]*\] | \(_ssl\.c:\d+\)$")


def refusal(error: Exception) -> str:
    """Why a connection was not made, in words: without the names of classes and of places in OpenSSL."""
    text = reason_of(error).removeprefix("nats: ").strip("'\"")
    if isinstance(error, ssl.SSLError):
        text = _PLACE_IN_OPENSSL.sub("", text) + ca_hint(error)
    return text[:_LONGEST_REASON]


# Between words stands a space or a tab. nats-py takes a form feed for one as well, which the server takes in a subject:
# such a message ended the connection of whoever it was delivered to, again and again.
parser.MSG_RE = re.compile(rb"\AMSG[ \t]+([^ \t\r\n]+)[ \t]+([^ \t\r\n]+)[ \t]+(([^ \t\r\n]+)[ \t]+)?(\d+)\r\n")
parser.HMSG_RE = re.compile(
    rb"\AHMSG[ \t]+([^ \t\r\n]+)[ \t]+([^ \t\r\n]+)[ \t]+(([^ \t\r\n]+)[ \t]+)?(\d+)[ \t]+(\d+)\r\n"
)


class _Listener:
    """Hears messages where they arrive, in the place of the future that nats-py would resolve there with the first one.

    Its own callbacks are told by a task that reads a queue, and its `request` adds three futures and a timer to that:
    each is a pass through the event loop, and in a busy process those passes were half of the time a commit takes.
    """

    def __init__(self, hear: Callable[[Msg], None]) -> None:
        self._hear = hear

    def cancelled(self) -> bool:
        """What nats-py asks before it hands over a message."""
        return False

    def set_result(self, message: Msg) -> None:
        """A message."""
        self._hear(message)


class _Transport(TcpTransport):
    """nats-py's transport, which is closed when its TLS handshake fails.

    nats-py waits for the end of such a connection, of which nobody tells it: the first failure would be the last try.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    async def connect_tls(
        self, uri: str | ParseResult, ssl_context: ssl.SSLContext, buffer_size: int, connect_timeout: int
    ) -> None:
        try:
            await super().connect_tls(uri, ssl_context, buffer_size, connect_timeout)
        except BaseException:
            self.abort()
            raise

    def writelines(self, payload: list[bytes]) -> None:
        with self._open():
            super().writelines(payload)  # type: ignore[no-untyped-call]

    def write(self, payload: bytes) -> None:
        with self._open():
            super().write(payload)  # type: ignore[no-untyped-call]

    @contextlib.contextmanager
    def _open(self) -> Iterator[None]:
        """A write to a closed transport raises OSError, after which nats-py connects again; uvloop's RuntimeError."""
        if self._io_writer is None:
            raise ConnectionResetError("the connection is closed")
        try:
            yield
        except RuntimeError as error:
            raise ConnectionResetError(f"the connection is closed: {reason_of(error)}") from error

    def abort(self) -> None:
        """Close it without waiting. Of TLS, too, this is the transport below."""
        if self._bare_io_writer is not None:
            self._bare_io_writer.transport.abort()
        self._io_writer = self._bare_io_writer = None


class NatsClient(Client):
    """nats-py's client, which can be told to write, knows whom it asks, and comes back whatever a server says.

    It survives whatever bytes a message has: the server takes any for headers and in a subject; what nats-py raises
    over them would end the reading.
    """

    asked = ""
    """The server that it connects to, or is connected to: its URL without user and password."""

    async def _connect_to_server(self, s: Srv) -> None:
        self.asked = f"{s.uri.scheme}://{s.uri.hostname}:{s.uri.port}"
        self.abandon()
        if s.uri.scheme in ("ws", "wss"):
            await super()._connect_to_server(s)
            return
        s.last_attempt = time.monotonic()
        self._transport = transport = _Transport()
        await transport.connect(s.uri, DEFAULT_BUFFER_SIZE, self.options["connect_timeout"])

    def abandon(self) -> None:
        """Close the connection that was being made: else the collector of garbage would, some time."""
        if isinstance(self._transport, _Transport):
            self._transport.abort()

    async def _process_err(self, err_msg: str) -> None:
        """Leave the server that reports an error, and connect again.

        nats-py closes itself for good: one reload of a server with another password, or a connection too many for a
        moment, and the process would never come back.
        """
        if "permissions violation" in err_msg.lower():
            await super()._process_err(err_msg)
            return
        error = NatsError(f"nats: {err_msg}")
        await self._process_op_err(error)
        await self._error_cb(error)

    @staticmethod
    def _parse_header_lines(raw: bytes) -> dict[str, str]:
        """The same as nats-py's, which looks at each character of each name in Python."""
        return headers_of(raw)

    async def _process_headers(self, headers: Any) -> dict[str, str] | None:
        try:
            return await super()._process_headers(headers)
        except (IndexError, ValueError):
            return None

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        if not subject.isascii():
            subject = subject.decode(errors="replace").encode()
        await super()._process_msg(sid, subject, reply, data, headers)

    def write_now(self) -> None:
        """Write what was published; by itself a task does that, in the next pass of the event loop.

        Where this cannot be done the task still does it.
        """
        if self._pending and self._transport is not None and self.is_connected:
            with contextlib.suppress(OSError):
                self._transport.writelines(self._pending)
                self._pending, self._pending_data_size = [], 0

    async def close(self) -> None:
        """Close the connection; what is not written by now is dropped.

        nats-py would write it, also to a connection that is closed already, and then close nothing.
        """
        self._pending, self._pending_data_size = [], 0
        await super().close()

    async def hear(self, subject: str, heard: Callable[[Msg], None]) -> None:
        """Call `heard` with each message under `subject`, where it arrives. It must neither raise nor block."""
        await self.subscribe(subject, future=cast("asyncio.Future[Msg]", _Listener(heard)))


def headers_of(raw: bytes) -> dict[str, str]:
    """The headers of a message, from its lines; what is none is left out, as is the line `NATS/1.0` above them."""
    headers: dict[str, str] = {}
    for line in raw.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        name = name.strip()
        if colon and name.isascii() and not _SPACE.search(name.decode()):
            headers[name.decode()] = value.strip().decode(errors="replace")
    return headers
