"""What an attacker does to ingress: bytes it sends again and again on each connection, and whether it reads.

`python -m bench.hostile.attack NAME HOST PORT GROUP SECONDS` attacks from a control group and ends by itself.
"""

import asyncio
import contextlib
import socket
import ssl
from enum import StrEnum
from typing import NamedTuple

from bench.hostile.arguments import joined

_BLOCK_BYTES = 64 * 1024
_BIND_ADDRESS_NO_PORT = 24
"""IP_BIND_ADDRESS_NO_PORT of Linux, which Python does not name before 3.12."""
_PAUSE_S = 0.05
"""Before a connection that was ended is made again."""


class Port(StrEnum):
    """The listener that is attacked."""

    RELAY = "relay"
    SUBMISSIONS = "submissions"


class Attack(NamedTuple):
    """One way to keep ingress from serving others."""

    title: str
    connections: int
    opening: bytes = b""
    """Sent once on each connection."""
    repeated: bytes = b""
    """Sent without end; empty: the connection is closed after the opening, or held open with `holds`."""
    reads: bool = True
    """Whether it reads what it is answered."""
    piece_bytes: int = _BLOCK_BYTES
    """Bytes of one packet."""
    holds: bool = False
    """Sends the opening and then nothing."""
    port: Port = Port.RELAY
    source: str = "127.0.0.2"
    """Its address; several connections too many for one address come from its neighbours as well."""


_BEGUN = b"EHLO attacker.test\r\nMAIL FROM:<a@attacker.test>\r\nRCPT TO:<admin@ours.test>\r\nDATA\r\n"
_LINE = b"x" * 70 + b"\r\n"

ATTACKS = {
    "noop": Attack("NOOP, pipelined", 1, repeated=b"NOOP\r\n"),
    "noop-20": Attack("NOOP, pipelined, 20 connections", 20, repeated=b"NOOP\r\n"),
    "rcpt-20": Attack(
        "refused RCPT, 20 connections",
        20,
        b"EHLO attacker.test\r\nMAIL FROM:<a@attacker.test>\r\n",
        b"RCPT TO:<nobody@elsewhere.test>\r\n",
    ),
    "ehlo-20": Attack("EHLO, 20 connections", 20, repeated=b"EHLO attacker.test\r\n"),
    "rset-20": Attack("MAIL and RSET, 20 connections", 20, b"EHLO a.test\r\n", b"MAIL FROM:<a@a.test>\r\nRSET\r\n"),
    "unknown-20": Attack("unknown commands, 20 connections", 20, repeated=b"WHAT\r\n"),
    "deaf-40": Attack("replies never read, 40 connections", 40, repeated=b"EHLO attacker.test\r\n", reads=False),
    "bodies-400": Attack(
        "content of 60 KB without end, 400 connections", 400, _BEGUN + _LINE * (60_000 // len(_LINE)), holds=True
    ),
    "bytes-40": Attack("packets of one byte, 40 connections", 40, _BEGUN, _LINE, piece_bytes=1),
    "auth-40": Attack(
        "bytes behind an open AUTH, 40 connections",
        40,
        b"EHLO attacker.test\r\nAUTH PLAIN\r\n",
        b"eA==",
        port=Port.SUBMISSIONS,
    ),
    "handshakes-20": Attack("TLS handshakes, 20 connections at a time", 20, port=Port.SUBMISSIONS),
    "connects-20": Attack("connections opened and closed, 20 at a time", 20),
}
_CONNECTIONS_PER_ADDRESS = 40


async def _attack(attack: Attack, host: str, port: int) -> None:
    await asyncio.gather(*(_again_and_again(attack, host, port, number) for number in range(attack.connections)))


async def _again_and_again(attack: Attack, host: str, port: int, number: int) -> None:
    """One connection after the other, for ever."""
    octets = attack.source.split(".")
    source = ".".join([*octets[:3], str(int(octets[3]) + number // _CONNECTIONS_PER_ADDRESS)])
    ends = not attack.repeated and not attack.holds
    while True:
        with contextlib.suppress(OSError, EOFError):
            reader, writer = await _connected(source, host, port, tls=attack.port is Port.SUBMISSIONS)
            try:
                await _one(attack, reader, writer)
            finally:
                writer.transport.abort()
        await asyncio.sleep(0 if ends else _PAUSE_S)


async def _connected(
    source: str, host: str, port: int, *, tls: bool
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    sock = socket.socket()
    try:
        sock.setblocking(False)  # noqa: FBT003 — no keyword there
        # A port is chosen with the connection: chosen before, all of an address would be used up within seconds.
        sock.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
        sock.bind((source, 0))
        await asyncio.get_running_loop().sock_connect(sock, (host, port))
        return await asyncio.open_connection(
            sock=sock, ssl=_unverified() if tls else None, server_hostname=host if tls else None
        )
    except BaseException:
        sock.close()
        raise


async def _one(attack: Attack, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()
    writer.write(attack.opening)
    await writer.drain()
    if attack.holds:
        await reader.read()
        return
    if not attack.repeated:
        return
    reading = asyncio.ensure_future(_read(reader)) if attack.reads else None
    block = attack.repeated * max(attack.piece_bytes // len(attack.repeated), 1)
    pieces = [block] if attack.piece_bytes > 1 else [block[at : at + 1] for at in range(len(block))]
    try:
        while reading is None or not reading.done():
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                if attack.piece_bytes == 1:
                    await asyncio.sleep(0)
    finally:
        if reading is not None:
            reading.cancel()


async def _read(reader: asyncio.StreamReader) -> None:
    while await reader.read(_BLOCK_BYTES):
        continue


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def _for(seconds: float, attack: Attack, host: str, port: int) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(_attack(attack, host, port), seconds)


def main() -> None:
    """Attack, and end."""
    name, host, port, seconds = joined("bench.hostile.attack", ATTACKS)
    asyncio.run(_for(seconds, ATTACKS[name], host, port))


if __name__ == "__main__":
    main()
