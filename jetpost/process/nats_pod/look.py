"""What the nats-servers of a cluster are doing, as their monitoring says: who is present, and who is asked to stop."""

import concurrent.futures
import contextlib
import http.client
import json
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jetpost.process.nats_pod.turn import ABSENT, Server

PATIENCE_S = 3.0
ASKED = "asked to stop"
"""The beginning of a client connection's name that shows that its server is asked to stop."""
_ATTEMPTS = 5
"""How often this server is asked before it counts as one that does not answer: a pause of some seconds is no hang."""
_MOST_CONNECTIONS = 100_000
_FAILURES = (OSError, ValueError, KeyError, TypeError, http.client.HTTPException)


class Endpoint(NamedTuple):
    """Where a server's monitoring is."""

    host: str
    port: int
    secure: bool


class Look:
    """What the servers are doing. Each is asked in a thread of its own, for names may take long to resolve."""

    def __init__(
        self, name: str, here: Endpoint, endpoints: Mapping[str, Endpoint], log: Callable[[str], None]
    ) -> None:
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
        concurrent.futures.wait(self._asking.values(), timeout=2 * PATIENCE_S)
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
    names = [name for each in connections if (name := str(each.get("name", ""))).startswith(ASKED)]
    numbers = [int(name.rpartition(", ")[2]) for name in names if ", " in name]
    errors = _get(endpoint, address, "/healthz?details=true").get("errors") or []
    present = all(error["type"] == "CONSUMER" for error in errors)
    return Server(present, asked=bool(names), number=max(numbers, default=None))


def _get(endpoint: Endpoint, address: str, path: str) -> dict[str, Any]:
    """The JSON answer, whatever its status: a server that is not well says so with one."""
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=PATIENCE_S)
    with contextlib.closing(connection):
        plain = socket.create_connection((address, endpoint.port), timeout=PATIENCE_S)
        connection.sock = secured(plain, endpoint.host) if endpoint.secure else plain
        connection.request("GET", path)
        said: dict[str, Any] = json.loads(connection.getresponse().read())
        return said


def secured(plain: socket.socket, host: str) -> ssl.SSLSocket:
    """TLS without a check of the certificate.

    While certificates are replaced, files and servers do not agree. Nothing secret is sent to another pod. The worst
    that a false answer does is that this server stops too early, or waits until its time is over.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(plain, server_hostname=host)
