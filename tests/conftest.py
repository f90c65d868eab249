"""Running things for tests: a zone, MXs, systems. All on loopback, all on free ports."""

import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import structlog
from hypothesis import settings

from jetpost.up.probe import free_port
from tests.fixtures.addresses import loopback_address
from tests.fixtures.certificates import Certificates
from tests.fixtures.configuration import Surroundings
from tests.fixtures.mx import Mx
from tests.fixtures.mx_script import Script
from tests.fixtures.nats import NatsServer
from tests.fixtures.system import System
from tests.fixtures.users import write_quick_users
from tests.fixtures.worker import own_ports
from tests.fixtures.zone import ServedZone, served

own_ports()

# More examples for every property: what `make soak` sets HYPOTHESIS_PROFILE to.
# Without a deadline for each example: that would be a test of how busy the machine is.
settings.register_profile("usual", max_examples=60, deadline=None)
settings.register_profile("thorough", max_examples=300, print_blob=True, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "usual"))

_configure = structlog.configure


def _uncached(**given: Any) -> None:
    """Loggers that a test has used must obey the next configuration as well."""
    _configure(**{**given, "cache_logger_on_first_use": False})


structlog.configure = _uncached  # type: ignore[assignment]

MakeMx = Callable[..., Awaitable[Mx]]
MakeSystem = Callable[..., Awaitable[System]]


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    """What a command in a test's own process sets up for logs ends with the test: the next one may look at them."""
    root = logging.getLogger()
    level = root.level
    yield
    if structlog.is_configured():
        structlog.reset_defaults()
        logging.captureWarnings(capture=False)
        root.handlers = [it for it in root.handlers if type(it).__module__ != "jetpost.telemetry.log"]
        root.setLevel(level)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A CA and a certificate for localhost."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def names() -> AsyncIterator[ServedZone]:
    """The zone that every system of the run asks."""
    async with served() as zone:
        yield zone


@pytest.fixture(scope="session")
def surroundings(
    names: ServedZone, certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Surroundings:
    """What every system of the run shares."""
    users_file = write_quick_users(tmp_path_factory.mktemp("users") / "users")
    return Surroundings(names.address, certificates, free_port(), users_file)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def system(surroundings: Surroundings, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """One system for all tests that leave it as they found it."""
    folder = tmp_path_factory.mktemp("system")
    system = System(folder, surroundings, [NatsServer(folder)], {})
    try:
        yield await system.start()
    finally:
        await system.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def make_system(surroundings: Surroundings, tmp_path: Path) -> AsyncIterator[MakeSystem]:
    """Makes systems of a test's own, to be broken at will.

    `await make_system({"queue.shards": 2}, delivery=2)`; the values of the configuration have their dotted paths, and
    `limits` are those of the nats-server.
    """
    systems: list[System] = []

    async def make(
        changes: dict[str, Any] | None = None, *, ingress: int = 1, delivery: int = 1, limits: str = ""
    ) -> System:
        folder = tmp_path / f"system-{len(systems)}"
        folder.mkdir(exist_ok=True)
        server = NatsServer(folder, limits=limits)
        system = System(folder, surroundings, [server], changes or {}, ingress=ingress, delivery=delivery)
        systems.append(system)
        return await system.start()

    yield make
    for system in systems:
        await system.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def mx(names: ServedZone, surroundings: Surroundings) -> AsyncIterator[MakeMx]:
    """Makes running MXs of a domain, published in the zone; see `mxs`."""
    async with mxs(names, surroundings) as make:
        yield make


@asynccontextmanager
async def mxs(names: ServedZone, surroundings: Surroundings) -> AsyncIterator[MakeMx]:
    """Makes running MXs of a domain, published in the zone, that stop with the block and are in the zone no more.

    Else mail of a later test, such as its DSNs, would be tried at hosts that are gone.

    `await mx("dest.test", preference=20, replies={…})`, with the fields of Script. Called again for the same domain it
    adds a host.
    """
    records: dict[str, list[tuple[int, str]]] = {}

    def forget() -> None:
        for domain, hosts in records.items():
            for name in (domain, *(host for _, host in hosts)):
                names.remove(name)

    async with AsyncExitStack() as running:
        running.callback(forget)

        async def make(domain: str, *, preference: int = 10, **script: Any) -> Mx:
            hosts = records.setdefault(domain, [])
            host = f"mx{len(hosts) + 1}.{domain}"
            server = Mx(host, loopback_address(), surroundings.mx_port, Script(**script))
            await running.enter_async_context(server)
            hosts.append((preference, host))
            names.add(host, a=[server.address])
            names.add(domain, mx=hosts)
            return server

        yield make
