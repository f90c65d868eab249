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
import concurrent.futures
import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from jetpost.process.nats_pod.turn import ABSENT, Server, number_after, obstacle
from jetpost.reason import reason_of

_PATIENCE_S = 3.0
_ATTEMPTS = 5
"""How often this server is asked before it counts as one that does not answer: a pause of some seconds is no hang."""
_LOOK_AGAIN_S = 2.0
_BEGINS_S = 5.0
"""How long the server may take to begin its stop once it is told to."""
_ASKED = "asked to stop"
_MOST_CONNECTIONS = 100_000
_FAILURES = (OSError, ValueError, KeyError, TypeError, http.client.HTTPException)


class Endpoint(NamedTuple):
    """Where a server's monitoring is."""

    host: str
    port: int
    secure: bool


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
            _wait_for_turn(name, _Look(name, here, endpoints, log), shown, deadline, log)
        _begin(asked.pid_file, shown, log)


def _wait_for_turn(name: str, look: "_Look", shown: "_Shown", deadline: float, log: "_Log") -> None:
    """Return when it is this server's turn, when it does not serve, or at the deadline (`time.monotonic`)."""
    number: int | None = None
    leaving: set[str] = set()
    said = None
    shown.show(_ASKED)
    while time.monotonic() < deadline:
        found = look.now()
        if found is None:
            log(f"{name} does not answer: it stops at once")
            return
        own, others = found
        if number is None:
            number = number_after(others.values())
            shown.show(f"{_ASKED}, {number}")
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


class _Look:
    """What the servers are doing. Each is asked in a thread of its own, for names may take long to resolve."""

    def __init__(self, name: str, here: Endpoint, endpoints: Mapping[str, Endpoint], log: "_Log") -> None:
        self._name = name
        self._log = log
        self._here = here
        self._endpoints = endpoints
        self._pool = concurrent.futures.ThreadPoolExecutor(max_workers=len(endpoints) + 1)
        self._asking: dict[str, concurrent.futures.Future[Server]] = {}

    def now(self) -> tuple[Server, dict[str, Server]] | None:
        """This server and the others by name; None when this one does not answer."""
        found = self._own()
        if found is None:
            return None
        own, addresses = found
        for name, endpoint in self._endpoints.items():
            if name not in self._asking:
                # By the address of its route where there is one: names go with the Service when all is removed.
                self._asking[name] = self._pool.submit(_ask, endpoint, addresses.get(name, endpoint.host))
        concurrent.futures.wait(self._asking.values(), timeout=2 * _PATIENCE_S)
        others = {name: self._answer(name) for name in self._endpoints}
        return own, others

    def _own(self) -> tuple[Server, dict[str, str]] | None:
        """This server, and the addresses of its routes by name; None when it does not answer."""
        for _ in range(_ATTEMPTS):
            try:
                own = _ask(self._here, self._here.host)
                routes = _get(self._here, self._here.host, "/routez")["routes"] or []
                return own, {str(route["remote_name"]): str(route["ip"]) for route in routes}
            except TimeoutError:
                self._log(f"{self._name} is slow to answer: it is asked again")
            except _FAILURES:
                return None
        return None

    def _answer(self, name: str) -> Server:
        asking = self._asking[name]
        if not asking.done():
            return ABSENT
        del self._asking[name]
        return ABSENT if asking.exception() is not None else asking.result()


def _ask(endpoint: Endpoint, address: str) -> Server:
    """What the server there is doing. One of `_FAILURES`: it does not answer."""
    connections = _get(endpoint, address, f"/connz?limit={_MOST_CONNECTIONS}")["connections"] or []
    names = [name for each in connections if (name := str(each.get("name", ""))).startswith(_ASKED)]
    numbers = [int(name.rpartition(", ")[2]) for name in names if ", " in name]
    errors = _get(endpoint, address, "/healthz?details=true").get("errors") or []
    present = all(error["type"] == "CONSUMER" for error in errors)
    return Server(present, asked=bool(names), number=max(numbers, default=None))


def _get(endpoint: Endpoint, address: str, path: str) -> dict[str, Any]:
    """The JSON answer, whatever its status: a server that is not well says so with one."""
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=_PATIENCE_S)
    with contextlib.closing(connection):
        plain = socket.create_connection((address, endpoint.port), timeout=_PATIENCE_S)
        connection.sock = _secured(plain, endpoint.host) if endpoint.secure else plain
        connection.request("GET", path)
        said: dict[str, Any] = json.loads(connection.getresponse().read())
        return said


def _secured(plain: socket.socket, host: str) -> ssl.SSLSocket:
    """TLS without a check of the certificate.

    While certificates are replaced, files and servers do not agree. Nothing secret is sent to another pod. The worst
    that a false answer does is that this server stops too early, or waits until its time is over.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(plain, server_hostname=host)


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
        connection = socket.create_connection(self._client, timeout=_PATIENCE_S)
        info = _line(connection)
        if b'"tls_required":true' in info or b'"tls_available":true' in info:
            connection = _secured(connection, self._client[0])
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
