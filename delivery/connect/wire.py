"""The bytes to and from one MX host, plain or inside TLS, with no more of them in memory than somebody asked for.

TLS is done here and not by the event loop's transport, so that everything the host sent before it broke the connection
is read: its alert, and its last reply.
"""

import asyncio
import fcntl
import os
import socket
import ssl
import struct
import termios
from contextlib import suppress
from typing import cast

from prometheus_client import Gauge

from jetpost.client_tls import why_tls_failed

OPEN = Gauge("jetpost_delivery_connections", "Connections open to MX hosts now.")

_MOST_UNREAD = 32 * 1024
"""Bytes from the host that wait in this process; more waits in the kernel."""
_KERNEL_BUFFER = 32 * 1024
"""Bytes from the host that wait in the kernel, which doubles it. Replies are small."""
_MOST_WITHOUT_CONTENT = 256 * 1024
"""Bytes of TLS that may come without any content in them: handshake, tickets, new keys."""
_RECORDS_A_TURN = 64
_CLOSED = "closed the connection"


class Wire(asyncio.Protocol):
    """One connection. A subclass takes bytes with `take` whenever `_readable` is called."""

    def __init__(self, name: str) -> None:
        self.name = name
        """The MX host's name."""
        self.tls = ""
        """TLS version and cipher; empty on a plain connection."""
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._fd = -1
        self._raw = bytearray()
        self._ssl: ssl.SSLObject | None = None
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._without_content = 0
        self._over: str | None = None
        """Why no more bytes come from the host; what was received before can still be taken."""
        self._is_full = False
        self._is_paused = False
        self._is_counted = False

    @property
    def is_connected(self) -> bool:
        """Whether bytes may be sent."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def is_secure(self) -> bool:
        """Whether TLS is on."""
        return bool(self.tls)

    @property
    def over_tls(self) -> ssl.SSLObject | None:
        """What does TLS; None on a plain connection."""
        return self._ssl

    @property
    def has_more(self) -> bool:
        """Whether `take` may have something, or the connection has ended."""
        return bool(self._raw) or self._ssl is not None or self._over is not None

    @property
    def has_unsent(self) -> bool:
        """Whether the host cannot have everything that was written: it is still here, or unacknowledged."""
        if self._is_full or (self._transport is not None and self._transport.get_write_buffer_size() > 0):
            return True
        return _unacknowledged(self._fd) > 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._transport = cast("asyncio.Transport", transport)
        self._is_counted = True
        OPEN.inc()
        sock = transport.get_extra_info("socket")
        self._fd = sock.fileno()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _KERNEL_BUFFER)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop, while the socket is still open: a failed write hides what can still be read."""
        if exc is not None and self._over is None:
            self._receive(_left_in(self._fd))
        self._transport = None
        self._uncount()
        self._over = self._over or (str(exc) if exc else _CLOSED)
        self._readable()
        self._fd = -1

    def eof_received(self) -> bool:
        """Called by the event loop: the host says no more."""
        self._over = self._over or _CLOSED
        self._readable()
        return False

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        self._receive(data)
        if len(self._raw) > _MOST_UNREAD or self._ssl is not None:
            self._pace()
        self._readable()

    def pause_writing(self) -> None:
        """Called by the event loop: the host does not read what was written."""
        self._is_full = True

    def resume_writing(self) -> None:
        """Called by the event loop."""
        self._is_full = False
        self._writable()

    def take(self, most: int) -> bytes:
        """Up to `most` bytes of what the host sent; none when nothing is there, or nothing but TLS's own."""
        if self._ssl is not None:
            taken = self._decrypted(self._ssl, most)
        else:
            taken = bytes(self._raw[:most])
            del self._raw[:most]
        if self._is_paused:
            self._pace()
        return taken

    def write(self, data: bytes) -> None:
        """Send bytes; on a broken connection nothing happens."""
        if self._transport is None or self._transport.is_closing():
            return
        if self._ssl is None:
            self._transport.write(data)
            return
        try:
            self._ssl.write(data)
        except ssl.SSLError as error:
            self._over = self._over or f"TLS failed: {why_tls_failed(error, self._ssl)}"
        self._flush()

    def abort(self) -> None:
        """Break the connection off, unsent bytes and all."""
        self._uncount()
        if self._transport is not None:
            self._transport.abort()

    def close(self, patience_s: float) -> None:
        """Close when everything has been sent, or when the host has not read it for `patience_s`."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._ssl is not None:
            self._say_goodbye(self._ssl)
        if transport.get_write_buffer_size():
            self._loop.call_later(patience_s, transport.abort)
        transport.close()

    def _begin_tls(self, context: ssl.SSLContext, session: ssl.SSLSession | None) -> None:
        """Nothing that came in clear survives (RFC 3207, 4.2)."""
        self._raw.clear()
        self._ssl = context.wrap_bio(self._incoming, self._outgoing, server_hostname=self.name, session=session)

    def _handshake(self) -> bool | str:
        """Go on with the handshake: True when it is done, False when more bytes are needed, or why it failed."""
        assert self._ssl is not None
        try:
            self._ssl.do_handshake()
        except ssl.SSLWantReadError:
            return self._over or False
        except (ssl.SSLError, OSError) as error:
            return why_tls_failed(error, self._ssl)
        finally:
            self._flush()
            self._pace()
        cipher = self._ssl.cipher()
        self._without_content = 0
        self.tls = f"{self._ssl.version()} {cipher[0] if cipher else ''}"
        return True

    def _readable(self) -> None:
        """There is something to take, or the connection has ended."""
        raise NotImplementedError

    def _writable(self) -> None:
        """The host reads again."""
        raise NotImplementedError

    def _receive(self, data: bytes) -> None:
        if self._ssl is None:
            self._raw += data
            return
        self._incoming.write(data)
        self._without_content += len(data)
        if self._without_content > _MOST_WITHOUT_CONTENT:
            self._over = self._over or "sent TLS without content"

    def _pace(self) -> None:
        """Read no more than somebody takes."""
        pauses = len(self._raw) + self._incoming.pending > _MOST_UNREAD
        if self._transport is None or pauses == self._is_paused or self._transport.is_closing():
            return
        self._is_paused = pauses
        if pauses:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _decrypted(self, over: ssl.SSLObject, most: int) -> bytes:
        taken = bytearray()
        try:
            for _ in range(_RECORDS_A_TURN):
                if len(taken) >= most:
                    break
                data = over.read(most - len(taken))
                if not data:
                    self._over = self._over or _CLOSED
                    break
                taken += data
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._over = self._over or _CLOSED
        except (ssl.SSLError, OSError) as error:
            self._over = f"TLS failed: {why_tls_failed(error, self._ssl)}"
        self._flush()
        if taken:
            self._without_content = 0
        return bytes(taken)

    def _flush(self) -> None:
        if self._outgoing.pending and self.is_connected:
            cast("asyncio.Transport", self._transport).write(self._outgoing.read())

    def _say_goodbye(self, over: ssl.SSLObject) -> None:
        with suppress(ssl.SSLError, OSError):  # the host's own goodbye is not waited for
            over.unwrap()
        self._flush()

    def _uncount(self) -> None:
        if self._is_counted:
            self._is_counted = False
            OPEN.dec()


def _unacknowledged(fd: int) -> int:
    """Bytes that TCP has not been told the arrival of, also after a reset. A reply to the last byte tells it."""
    try:
        (unsent,) = struct.unpack("i", fcntl.ioctl(fd, termios.TIOCOUTQ, bytes(4)))
    except OSError:
        return 0
    return int(unsent)


def _left_in(fd: int) -> bytes:
    """What a socket has received, although writing to it failed."""
    left = bytearray()
    try:
        while len(left) < _MOST_UNREAD and (data := os.read(fd, _MOST_UNREAD)):
            left += data
    except OSError:
        pass
    return bytes(left)
