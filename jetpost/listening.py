"""A port that a process cannot listen on is told in one line, for whoever configured it."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

_PRIVILEGED = 1024


class CannotListen(Exception):  # noqa: N818 — a state of the world, named as one
    """An address could not be bound."""


@contextmanager
def listening_on(host: str, port: int, key: str) -> Iterator[None]:
    """CannotListen in place of the OSError of a bind in the block. `key` is where the configuration has the port."""
    try:
        yield
    except OSError as error:
        raise CannotListen(f"cannot listen on {host} port {port} ({key}): {_why(error, port)}") from error


def _why(error: OSError, port: int) -> str:
    if isinstance(error, socket.gaierror) or error.errno is None:
        return error.strerror or str(error)
    hint = ""
    if error.errno == errno.EACCES and 0 < port < _PRIVILEGED:
        hint = f"; a port below {_PRIVILEGED} needs root or the capability NET_BIND_SERVICE"
    return f"{os.strerror(error.errno)}{hint}"
