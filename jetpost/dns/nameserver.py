"""A name server that is asked over UDP, and over TCP within bounds.

The owner of a domain decides what an answer over TCP holds. Taking 64 KiB of records apart takes 0.2 s and more, so a
large answer is refused, and others are taken apart beside the event loop.
"""

import asyncio
import socket
import struct
import time
from typing import Any

import dns.inet
import dns.message
from dns.nameserver import Do53Nameserver

ANSWER_MOST_BYTES = 16 * 1024
"""Of an answer over TCP: some hundred records."""


class Nameserver(Do53Nameserver):
    """Answers as Do53Nameserver does; an answer that is too large is an error of the server."""

    async def async_query(
        self,
        request: dns.message.QueryMessage,
        timeout: float,  # noqa: ASYNC109 — dnspython's signature
        source: str | None,
        source_port: int,
        max_size: bool,
        backend: Any,
        one_rr_per_rrset: bool = False,
        ignore_trailing: bool = False,
    ) -> dns.message.Message:
        """Ask once; over TCP when `max_size`. DNSException, EOFError or OSError when there is no answer of use."""
        if not max_size:
            return await super().async_query(
                request, timeout, source, source_port, max_size, backend, one_rr_per_rrset, ignore_trailing
            )
        until = time.monotonic() + timeout
        family, there = dns.inet.af_for_address(self.address), (self.address, self.port)
        async with await backend.make_socket(family, socket.SOCK_STREAM, 0, None, there, timeout) as stream:
            question = request.to_wire()
            await stream.sendall(struct.pack("!H", len(question)) + question, until - time.monotonic())
            (size,) = struct.unpack("!H", await _exactly(stream, 2, until))
            if size > ANSWER_MOST_BYTES:
                raise OSError(f"answer of {size} bytes")
            answer = await _exactly(stream, size, until)
        heard = await asyncio.to_thread(dns.message.from_wire, answer, ignore_trailing=ignore_trailing)
        if not request.is_response(heard):
            raise OSError("answer to another question")
        return heard


async def _exactly(stream: Any, count: int, until: float) -> bytes:
    data = b""
    while len(data) < count:
        more: bytes = await stream.recv(count - len(data), max(until - time.monotonic(), 0))
        if not more:
            raise EOFError
        data += more
    return data
