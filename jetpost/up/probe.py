"""Asking a process of this machine over HTTP how it is."""

import asyncio
import random
import socket
from typing import NamedTuple

from jetpost import http_client

_LONGEST_BYTES = 64 * 1024 * 1024
SERVER_PORTS = range(10_000, 32_000)
"""Below those that the kernel gives to outgoing connections."""
_given: set[int] = set()
"""Ports that were named free, whether or not somebody listens there by now."""


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    body: str


async def get(port: int, path: str, *, within_s: float = 2) -> Answer | None:
    """GET `path` from loopback; None when nobody answers within `within_s` seconds."""
    try:
        async with asyncio.timeout(within_s):
            said = await http_client.get(f"http://127.0.0.1:{port}{path}", most_bytes=_LONGEST_BYTES)
    except (OSError, ValueError):  # TimeoutError is an OSError
        return None
    return Answer(said.status, said.body.decode(errors="replace"))


def free_port(wanted: int = 0) -> int:
    """`wanted` when it is free on loopback, else a port that is, never the same twice. OSError when none was found.

    Below the range from which the kernel gives outgoing connections theirs, so that it is still free at a restart.
    """
    for port in filter(None, (wanted, *random.sample(SERVER_PORTS, 100))):
        if port in _given and port != wanted:
            continue
        with socket.socket() as candidate:
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                continue
            _given.add(port)
            return port
    raise OSError("no free port on loopback")
