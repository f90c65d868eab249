"""MX hosts that keep delivery busy: `python -m bench.hostile.mx NAME HOST PORT GROUP SECONDS`."""

import asyncio
import contextlib
from typing import NamedTuple

from bench.hostile.arguments import joined

_BLOCK_BYTES = 64 * 1024


class HostileMx(NamedTuple):
    """One way to keep delivery from serving other hosts: what it says without end, and when."""

    title: str
    flood: bytes
    after: bytes
    """The command after which the flood begins; `.` is the end of the content."""
    answer: bytes = b""
    """Said before the flood."""


MX_ATTACKS = {
    "idle-flood": HostileMx("MX: replies on the idle connection", b"250 2.0.0 ok\r\n", b".", b"250 2.0.0 taken\r\n"),
    "endless-reply": HostileMx("MX: a reply that never ends", b"250-2.0.0 and\r\n", b"."),
    "endless-line": HostileMx("MX: a line that never ends", b"250 2.0.0 and ", b"EHLO"),
}


async def _serve(mx: HostileMx, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, EOFError):
        writer.write(b"220 mx.flood.test ESMTP\r\n")
        in_content = False
        while line := await reader.readline():
            command = line.strip().upper()
            if in_content:
                if command != b".":
                    continue
                in_content = False
            verb = command.split(b" ")[0]
            if verb == mx.after:
                writer.write(mx.answer)
                await _flood(mx, writer)
            in_content = verb == b"DATA"
            writer.write(b"354 go on\r\n" if in_content else b"250 2.0.0 ok\r\n")
    writer.transport.abort()


async def _flood(mx: HostileMx, writer: asyncio.StreamWriter) -> None:
    block = mx.flood * (_BLOCK_BYTES // len(mx.flood))
    while True:
        writer.write(block)
        await writer.drain()


async def _for(seconds: float, mx: HostileMx, host: str, port: int) -> None:
    server = await asyncio.start_server(lambda reader, writer: _serve(mx, reader, writer), host, port)
    await asyncio.sleep(seconds)
    server.close()


def main() -> None:
    """Be that host, and end."""
    name, host, port, seconds = joined("bench.hostile.mx", MX_ATTACKS)
    asyncio.run(_for(seconds, MX_ATTACKS[name], host, port))


if __name__ == "__main__":
    main()
