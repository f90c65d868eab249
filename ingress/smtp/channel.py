"""The transport of a connection: what is said on it, when it is read, its TLS, its end."""

import asyncio
import ssl
from functools import lru_cache

from jetpost.mail.reply import Reply

_MOST_UNREAD_BYTES = 16 * 1024
"""Replies that wait unread by the client before it is made to wait."""

_wire = lru_cache(maxsize=512)(Reply.wire)


class Channel:
    """A transport, or none any more."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.writing_paused = False
        """Whether the client does not read its replies."""
        self.is_shaking_hands = False
        self._reading_paused = False
        self._out: list[bytes] = []

    def open(self, transport: asyncio.Transport) -> None:
        """Use `transport` from now on."""
        self.transport = transport
        transport.set_write_buffer_limits(_MOST_UNREAD_BYTES)

    @property
    def is_open(self) -> bool:
        """Whether something may still be said and heard."""
        return self.transport is not None and not self.transport.is_closing()

    @property
    def unread_bytes(self) -> int:
        """Replies in memory for a client that does not read them."""
        return self.transport.get_write_buffer_size() if self.writing_paused and self.transport is not None else 0

    @property
    def tls(self) -> str:
        """TLS version and cipher; empty when it is plain."""
        ssl_object = None if self.transport is None else self.transport.get_extra_info("ssl_object")
        if ssl_object is None or not (cipher := ssl_object.cipher()):
            return ""
        return f"{ssl_object.version()} {cipher[0]}"

    def say(self, reply: Reply) -> None:
        """Send `reply`, together with those that follow before the next `flush` (RFC 2920, 3.2)."""
        self._out.append(_wire(reply))

    def challenge(self, challenge: str) -> None:
        """Send a challenge of an AUTH exchange; an empty one keeps its space (RFC 4954, 4)."""
        self._out.append(f"334 {challenge}\r\n".encode())

    def flush(self) -> None:
        """Write what is to be said."""
        if self._out and self.transport is not None:
            self.transport.write(b"".join(self._out) if len(self._out) > 1 else self._out[0])
        self._out.clear()

    def pause_reading(self) -> None:
        """Leave in the socket what the client sends; not within a handshake, whose bytes are not for us."""
        if self._reading_paused or self.is_shaking_hands or self.transport is None or self.transport.is_closing():
            return
        self._reading_paused = True
        self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read what the client sends."""
        if self._reading_paused and self.transport is not None and not self.transport.is_closing():
            self._reading_paused = False
            self.transport.resume_reading()

    async def shake_hands(self, protocol: asyncio.Protocol, context: ssl.SSLContext, handshake_s: float) -> bool:
        """Whether there is TLS from now on (RFC 3207, 4); if not, the client is gone.

        OSError or TimeoutError when the handshake fails: the connection is useless then.
        """
        transport = self.transport
        assert transport is not None
        self.is_shaking_hands = True
        try:
            upgraded = await asyncio.get_running_loop().start_tls(
                transport, protocol, context, server_side=True, ssl_handshake_timeout=handshake_s
            )
        except (OSError, TimeoutError):  # ssl.SSLError is an OSError
            transport.abort()
            raise
        finally:
            self.is_shaking_hands = False
        if upgraded is None:
            return False
        self.open(upgraded)
        return True

    def lost(self) -> None:
        """There is no transport any more."""
        self.transport = None
        self.writing_paused = False
