"""Jetpost: the processes that `jetpost up` starts, and a name server that names the sink as MX."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from bench import flames
from bench.destination import NAME, PASSWORD, USER
from bench.opendkim import private_key_file
from bench.side import Destination, Phase, Way
from tests.fixtures.certificates import Certificates
from tests.fixtures.configuration import Surroundings
from tests.fixtures.nats import NatsServer
from tests.fixtures.system import System
from tests.fixtures.users import write_users
from tests.fixtures.zone import served


class JetpostSystem:
    """A running Jetpost and its processes."""

    def __init__(self, system: System) -> None:
        self.host = "127.0.0.1"
        self.port = system.ports.relay
        self._system = system

    def processes(self) -> dict[int, str]:
        """nats-server and the services, by their names."""
        servers = {server.pid: "nats-server" for server in self._system.servers}
        return servers | {service.pid: service.name.partition("-")[0] for service in self._system.services}

    async def queued(self) -> int:
        """Live entries in the stream."""
        return sum((await self._system.depth()).values())


class JetpostSide(NamedTuple):
    """How many processes there are, and whether to look into them."""

    ingress: int
    delivery: int
    profile: Path | None

    @asynccontextmanager
    async def run(self, folder: Path, phase: Phase, sink: Destination) -> AsyncIterator[JetpostSystem]:
        """Jetpost, to which the sink is the MX of dest.test. While acceptance is measured no delivery process runs."""
        certificates, users_file = Certificates(folder), write_users(folder / "users")
        delivery = self.delivery if phase is Phase.RELAY else 0
        async with served() as zone:
            zone.add("dest.test", mx=[(10, "mx.dest.test")], ttl=3600)
            zone.add("mx.dest.test", a=[sink.host], ttl=3600)
            zone.add(NAME, a=[sink.host], ttl=3600)
            surroundings = Surroundings(zone.address, certificates, sink.port, users_file)
            # Jetpost's defaults, instead of the impatience of tests.
            changes = {
                "queue": {"store_protected": True},
                "dns": {"nameservers": [zone.address]},
                "delivery": {"route": {"port": sink.port}},
                **_sends(folder, sink),
            }
            server = NatsServer(folder)
            system = System(folder, surroundings, [server], changes, ingress=self.ingress, delivery=delivery)
            try:
                await system.start()
                server.stage_in_memory()
                async with flames.of([*system.ingress, *system.delivery], phase, self.profile):
                    yield JetpostSystem(system)
            finally:
                await system.stop()


def _sends(folder: Path, sink: Destination) -> dict[str, Any]:
    """The configuration of a way."""
    if sink.way is Way.PLAIN:
        return {}
    if sink.way is Way.DKIM:
        key = {"domain": "home.test", "selector": "bench", "file": str(private_key_file(folder))}
        return {"dkim.keys": [key]}
    hosts = [{"host": NAME, "port": sink.port}]
    action: dict[str, Any] = {"kind": "hosts", "hosts": hosts, "ca_file": str(sink.ca_file)}
    if sink.way is Way.AUTH:
        (file := folder / "password").write_text(PASSWORD)
        action["auth"] = {"user": USER, "password_file": str(file), "mechanisms": ["PLAIN"]}
    return {"delivery.routes": [{"name": "bench", "match": {"recipients": ["dest.test"]}, "action": action}]}
