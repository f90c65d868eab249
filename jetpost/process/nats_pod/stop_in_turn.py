"""Stop the nats-server of this pod in its turn: the pod's preStop hook.

    python -m jetpost.process.nats_pod.stop_in_turn --within SECONDS NAME=MONITORING-URL…

for all servers of the cluster, this one included. It returns when the server has begun to stop (lame duck mode), or
when there is none that runs. While another server is absent it waits, `--within` seconds at the most: Kubernetes ends
the pod by force when its grace period is over, and the server's own stop must fit into that.

A client connection whose name says so shows the others that this server is asked (`/connz`). It ends with this process,
so what is shown is never out of date, and a kill leaves nothing behind. Whether a server is present is asked of
`/healthz` with the errors of its consumers left out: a consumer that is broken for good would stop every drain.
"""

import argparse
import contextlib
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from jetpost.process.nats_pod.look import ASKED, PATIENCE_S, Endpoint, Look, secured
from jetpost.process.nats_pod.turn import Server, number_after, obstacle
from jetpost.reason import reason_of

_LOOK_AGAIN_S = 2.0
_BEGINS_S = 5.0
"""How long the server may take to begin its stop once it is told to."""


class _Stop(argparse.Namespace):
    within: float
    pid_file: Path
    client: tuple[str, int]
    log: Path | None
    servers: list[tuple[str, Endpoint]]


def main(words: list[str]) -> None:
    """Wait for this server's turn and begin its stop."""
    asked = _parser().parse_args(words, namespace=_Stop())
    deadline = time.monotonic() + asked.within
    name = os.environ["POD_NAME"]
    endpoints = dict(asked.servers)
    log = _Log(asked.log)
    with _Shown(asked.client) as shown:
        if len(endpoints) > 1:
            here = endpoints.pop(name)._replace(host=asked.client[0])
            _wait_for_turn(name, Look(name, here, endpoints, log), shown, deadline, log)
        _begin(asked.pid_file, shown, log)


def _wait_for_turn(name: str, look: Look, shown: "_Shown", deadline: float, log: "_Log") -> None:
    """Return when it is this server's turn, when it does not serve, or at the deadline (`time.monotonic`)."""
    number: int | None = None
    leaving: set[str] = set()
    said = None
    shown.show(ASKED)
    while time.monotonic() < deadline:
        found = look.now()
        if found is None:
            log(f"{name} does not answer: it stops at once")
            return
        own, others = found
        if number is None:
            number = number_after(others.values())
            shown.show(f"{ASKED}, {number}")
            continue  # looks again: who is not seen now sees this number
        leaving = {it for it, other in others.items() if other.asked or (it in leaving and not other.present)}
        choosing = [it for it, other in others.items() if other.asked and other.number is None]
        why = f"{choosing[0]} is asked as well" if choosing else obstacle(name, _numbered(own, number), others, leaving)
        if why is None:
            return
        if why != said:
            log(f"{name} is asked to stop and waits: {why}")
            said = why
        if not shown.hold(min(_LOOK_AGAIN_S, max(deadline - time.monotonic(), 0))):
            return
    log(f"{name} stops although {said}: its grace period ends")


def _numbered(server: Server, number: int) -> Server:
    return server._replace(asked=True, number=number)


def _begin(pid_file: Path, shown: "_Shown", log: "_Log") -> None:
    """Tell the server to stop, and hold what is shown until it does: others must not take it for present meanwhile."""
    try:
        os.kill(int(pid_file.read_text()), signal.SIGUSR2)
    except (OSError, ValueError) as error:
        log(f"no nats-server to stop: {reason_of(error)}")
        return
    ends = time.monotonic() + _BEGINS_S
    while (left := ends - time.monotonic()) > 0 and not shown.stopping:
        if not shown.hold(left):
            return


class _Shown:
    """A client connection to this server, whose name others can read. Passwords go over loopback alone."""

    def __init__(self, client: tuple[str, int]) -> None:
        self._client = client
        self._connection: socket.socket | None = None
        self.stopping = False
        """The server has said that it stops."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.close()

    def show(self, name: str) -> None:
        """Show this name in place of the one before. A server that takes no connection shows nothing."""
        before = self._connection
        with contextlib.suppress(OSError):
            self._connection = self._connected(name)
            if before is not None:
                before.close()

    def _connected(self, name: str) -> socket.socket:
        connection = socket.create_connection(self._client, timeout=PATIENCE_S)
        info = _line(connection)
        if b'"tls_required":true' in info or b'"tls_available":true' in info:
            connection = secured(connection, self._client[0])
        login = {"user": os.environ.get("RAW_USER", ""), "pass": os.environ.get("RAW_PASSWORD", "")}
        options = {"verbose": False, "pedantic": False, "lang": "python", "version": "0", "name": name, **login}
        connection.sendall(f"CONNECT {json.dumps(options)}\r\nPING\r\n".encode())
        while not (line := _line(connection)).startswith(b"PONG"):
            if line.startswith(b"-ERR"):
                raise OSError(line.decode(errors="replace"))
        return connection

    def hold(self, seconds: float) -> bool:
        """Keep the connection for so long, or until the server says something. False: it is gone."""
        if self._connection is None:
            time.sleep(seconds)
            return True
        self._connection.settimeout(max(seconds, 0.01))
        try:
            heard = self._connection.recv(65536)
            if b"PING" in heard:
                self._connection.sendall(b"PONG\r\n")
        except TimeoutError:
            return True
        except OSError:
            return False
        self.stopping |= b'"ldm":true' in heard
        return bool(heard)


def _line(connection: socket.socket) -> bytes:
    """The next line that a server says. OSError: it has closed the connection."""
    line = bytearray()
    while not line.endswith(b"\r\n"):
        byte = connection.recv(1)
        if not byte:
            raise OSError("closed")
        line += byte
    return bytes(line)


class _Log:
    """Lines to stderr, and to a file: what a hook prints is not kept, what the server's process prints is."""

    def __init__(self, file: Path | None) -> None:
        self._file = file

    def __call__(self, text: str) -> None:
        line = f"[jetpost] {text}\n"
        sys.stderr.write(line)
        if self._file is not None:
            with contextlib.suppress(OSError), self._file.open("a", encoding="utf-8") as file:
                file.write(line)


def _server(text: str) -> tuple[str, Endpoint]:
    name, _, url = text.partition("=")
    parts = urlsplit(url)
    return name, Endpoint(parts.hostname or "", parts.port or 8222, parts.scheme == "https")


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m jetpost.process.nats_pod.stop_in_turn")
    parser.add_argument("--within", type=float, required=True, help="seconds to wait at the most")
    parser.add_argument("--pid-file", type=Path, default=Path("/run/nats/nats.pid"), help="the server's")
    parser.add_argument("--client", type=_address, default=("127.0.0.1", 4222), help="the server's port for clients")
    parser.add_argument("--log", type=Path, help="a file to write to beside stderr")
    parser.add_argument("servers", type=_server, nargs="+", metavar="NAME=URL", help="all servers' monitoring")
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
    os._exit(0)  # a name that is still being resolved is nobody's business any more
