"""The NATS of the chart, run for real: three nats-servers with the rendered configuration, certificates and passwords.

Of what is rendered only the places change: the nodes share a machine here, so `0.0.0.0:4222` and the names of the pods
become ports of 127.0.0.1 (which the certificate names, too), and the mounted folders become folders of the test.
"""

import asyncio
import base64
import re
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import nats
import nats.errors
import pytest
import pytest_asyncio
from nats.aio.client import Client as NatsClient

from jetpost.up.probe import free_port, get
from tests.conftest import MakeMx
from tests.fixtures.chart import CHART, Manifest, configuration, named, of_kind, render
from tests.fixtures.configuration import Surroundings
from tests.fixtures.eventually import PATIENCE_S, eventually, eventually_asked
from tests.fixtures.letters import LETTER
from tests.fixtures.nats import executable
from tests.fixtures.process import Process
from tests.fixtures.system import System

pytestmark = [pytest.mark.chart, pytest.mark.asyncio(loop_scope="session")]

MINIMAL = CHART / "ci/minimal.yaml"
PORTS = (4222, 6222, 8222)
EXPIRES = "jetpost_nats_server_certificate_expires_timestamp_seconds"


def secret(manifests: list[Manifest], name: str) -> dict[str, bytes]:
    data: dict[str, str] = named(manifests, "Secret", name)["data"]
    return {key: base64.b64decode(value) for key, value in data.items()}


class Node(Process):
    """One pod of the StatefulSet, as a process."""

    def __init__(self, number: int, manifests: list[Manifest], places: Sequence[dict[int, int]], folder: Path) -> None:
        self.pod = f"jetpost-nats-{number}"
        self.manifests = manifests
        self.ports = places[number]
        self.folder = folder / self.pod
        (self.folder / "tls").mkdir(parents=True)
        for key, content in secret(manifests, "jetpost-nats-tls").items():
            (self.folder / "tls" / key).write_bytes(content)
        pod = named(manifests, "StatefulSet", "jetpost-nats")["spec"]["template"]["spec"]
        self._container = pod["containers"][0]
        (self._before,) = pod["initContainers"]
        self._places = places
        conf = self.folder / "nats.conf"
        rendered = named(manifests, "ConfigMap", "jetpost-nats")["data"]["nats.conf"]
        conf.write_text(re.sub(r"max_file_store: \d+", "max_file_store: 1GB", self._here(rendered)))
        (self.folder / "data").mkdir()
        self._places_of = {"/data": str(self.folder / "data"), "/etc/nats/config/nats.conf": str(conf)}
        here = {"python": sys.executable, "nats-server": executable(), **self._places_of}
        super().__init__(self.pod, [here.get(word, word) for word in self._container["command"]], self.folder / "log")
        self.environment = self._environment(secret(manifests, "jetpost-nats-auth"))

    def _here(self, text: str) -> str:
        for port in PORTS:
            text = text.replace(f"0.0.0.0:{port}", f"127.0.0.1:{self.ports[port]}")
            text = text.replace(f"client=127.0.0.1:{port}", f"client=127.0.0.1:{self.ports[port]}")
            text = text.replace(f"https://127.0.0.1:{port}", f"https://127.0.0.1:{self.ports[port]}")
            for number, ports in enumerate(self._places):
                pod = f"jetpost-nats-{number}.jetpost-nats.mail.svc"
                text = text.replace(f"{pod}:{port}", f"127.0.0.1:{ports[port]}")
        for mounted, folder in {"/etc/nats/tls": "tls", "/run/nats": "", "/data": "data"}.items():
            text = text.replace(f'"{mounted}', f'"{self.folder / folder}').replace(
                f"={mounted}", f"={self.folder / folder}"
            )
        return text

    def _environment(self, login: dict[str, bytes]) -> dict[str, str]:
        """The container's variables; later ones may use earlier ones, as Kubernetes has it."""
        variables: dict[str, str] = {"POD_NAME": self.pod}
        for variable in self._container["env"]:
            if "value" in variable:
                text = str(variable["value"])
                for known, value in variables.items():
                    text = text.replace(f"$({known})", value)
                variables[variable["name"]] = self._here(text)
            elif "secretKeyRef" in variable["valueFrom"]:
                variables[variable["name"]] = login[variable["valueFrom"]["secretKeyRef"]["key"]].decode()
        return variables

    @property
    def url(self) -> str:
        return f"tls://127.0.0.1:{self.ports[4222]}"

    @property
    def monitoring(self) -> str:
        return f"https://127.0.0.1:{self.ports[8222]}"

    @property
    def ca_file(self) -> Path:
        return self.folder / "tls/ca.crt"

    async def asked(self, path: str) -> str | None:
        """What it says at its monitoring URL; None when it does not, or does not say 200."""
        return await asyncio.to_thread(self._asked, path)

    async def told(self, path: str) -> str | None:
        """The same, whatever the status."""
        return await asyncio.to_thread(self._asked, path, errors=True)

    def _asked(self, path: str, *, errors: bool = False) -> str | None:
        trust = ssl.create_default_context(cafile=self.ca_file)
        try:
            with urllib.request.urlopen(self.monitoring + path, timeout=5, context=trust) as answer:  # noqa: S310 — ours
                text: str = answer.read().decode()
                return text
        except urllib.error.HTTPError as error:
            return error.read().decode() if errors else None
        except OSError:
            return None

    async def is_well(self, probe: str = "readinessProbe") -> bool:
        """What one of its probes says."""
        assert self.exit_status is None, self.log_tail()
        asked = self._container[probe]
        if "exec" in asked:
            return await self.ran(asked["exec"]["command"]) == 0
        assert asked["httpGet"]["scheme"] == "HTTPS"
        return await self.asked(asked["httpGet"]["path"]) is not None

    async def is_alive(self) -> bool:
        """What its liveness probe says, asked again while the server is too slow to answer, as the kubelet does."""

        async def said() -> str | None:
            if await self.is_well("livenessProbe"):
                return "alive"
            told = (self.folder / "probe").read_text()
            return None if "does not answer" in told else told

        return await eventually_asked(said, "its liveness probe has an answer") == "alive"

    async def ran(self, command: Sequence[str], name: str = "probe") -> int:
        """Run a command of the pod beside the server; its exit status. What it said is in the file `name`."""
        here = {"python": sys.executable, "jetpost": str(Path(sys.executable).with_name("jetpost")), **self._places_of}
        words = [here.get(word, self._here(word).replace("/proc/1/fd/2", str(self.log_file))) for word in command]
        process = Process(name, words, self.folder / name)
        process.log_file.unlink(missing_ok=True)
        process.launch()
        return await process.gone()

    async def checked(self) -> int:
        """What its init container ends with."""
        return await self.ran(self._before["command"], "store")

    async def ready(self) -> None:
        def what() -> str:
            return f"{self.pod} is ready\n{self.log_tail()}"

        # It may have files to look through, or others to catch up with.
        await eventually_asked(self.is_well, what, within_s=3 * PATIENCE_S)

    def hook_words(self, within_s: float = 300) -> list[str]:
        """The command of the preStop hook."""
        command: list[str] = self._container["lifecycle"]["preStop"]["exec"]["command"]
        words = [f"--within={within_s}" if word.startswith("--within=") else word for word in command[1:]]
        copy = str(self.folder / "preStop.log.copy")
        return [sys.executable, *(self._here(word).replace("/proc/1/fd/2", copy) for word in words)]

    def hook(self, within_s: float = 300) -> Process:
        """The preStop hook, launched."""
        hook = Process("preStop", self.hook_words(within_s), self.folder / "preStop.log")
        hook.environment = self.environment
        hook.launch()
        return hook

    async def before_stop(self) -> None:
        """What the preStop hook does."""
        hook = self.hook()
        assert await hook.gone() == 0, hook.log_tail()


class Rendered:
    """The cluster, and what was rendered for it."""

    def __init__(self, manifests: list[Manifest], folder: Path) -> None:
        self.manifests = manifests
        self.settings: dict[str, Any] = configuration(manifests)["nats"]
        self.places = [{port: free_port() for port in PORTS} for _ in range(3)]
        self.nodes = [Node(number, manifests, self.places, folder) for number in range(3)]
        self.login = {key: value.decode() for key, value in secret(manifests, "jetpost-nats-auth").items()}
        self.ca_file = self.nodes[0].ca_file

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca_file))

    async def connect(self, password: str | None = None, *, user: str = "jetpost", **options: Any) -> NatsClient:
        given = {"tls": self.trust, "user": user, "password": password or self.login["password"], **options}
        return await nats.connect(self.nodes[0].url, allow_reconnect=False, error_cb=_nothing, **given)


async def _tells_when_certificates_end(system: System) -> bool:
    answer = await get(system.bouncer.http_port, "/metrics")
    assert answer is not None
    told = re.findall(rf"^{EXPIRES}{{.*}} (.*)$", answer.body, re.MULTILINE)
    return len(told) == 3 and all(float(until) > time.time() + 9 * 365 * 86400 for until in told)


async def _nothing(_: Exception) -> None:
    """A refused connection is told by its exception as well."""


@pytest_asyncio.fixture(loop_scope="session")
async def cluster(tmp_path: Path) -> AsyncIterator[Rendered]:
    """The three nodes, ready."""
    cluster = Rendered(render(MINIMAL), tmp_path)
    try:
        for node in cluster.nodes:
            node.launch()
        for node in cluster.nodes:
            await node.ready()
        yield cluster
    finally:
        for node in cluster.nodes:
            await node.stop()


async def test_jetpost_sends_mail_through_it_while_a_node_is_replaced(
    cluster: Rendered, surroundings: Surroundings, tmp_path: Path, mx: MakeMx
) -> None:
    assert cluster.settings["servers"] == [f"tls://jetpost-nats-{n}.jetpost-nats.mail.svc:4222" for n in range(3)]
    dest = await mx("bundled.test")
    folder = tmp_path / "system"
    folder.mkdir()
    login = {"nats.user": cluster.login["user"], "nats.password": cluster.login["password"]}
    changes = {
        **login,
        "nats.servers": [node.url for node in cluster.nodes],
        "nats.monitoring": [node.monitoring for node in cluster.nodes],
        "nats.ca_file": str(cluster.ca_file),
        "queue.replicas": 3,
        "events.replicas": 3,
    }
    system = System(folder, surroundings, [], changes)
    try:
        await system.start()
        assert (await system.submit("a@home.test", ["before@bundled.test"], LETTER)).code == 250
        await dest.received("before@bundled.test")
        await eventually_asked(partial(_tells_when_certificates_end, system), "the bouncer asked all servers over TLS")
        _, doctor = of_kind(cluster.manifests, "Pod")[0]["spec"]["containers"]
        status, printed = await system.command(*doctor["command"][1:])
        assert status == 0, printed
        assert "ok    replicas: MAIL: 3 of 3 replicas are current" in printed

        for node in cluster.nodes:
            await node.before_stop()
            await node.gone()
            assert (await system.submit("a@home.test", [f"{node.pod}@bundled.test"], LETTER)).code == 250
            await dest.received(f"{node.pod}@bundled.test")
            node.launch()
            await node.ready()
    finally:
        await system.stop()
    assert len(dest.messages) == 4


async def test_nobody_gets_in_without_the_password_or_tls(cluster: Rendered) -> None:
    connection = await cluster.connect()
    await connection.close()

    with pytest.raises(nats.errors.Error, match="Authorization"):
        await cluster.connect("wrong")
    with pytest.raises(nats.errors.Error, match="Authorization"):
        await cluster.connect(user="")
    with pytest.raises((ssl.SSLError, OSError)):
        await cluster.connect(tls=ssl.create_default_context())
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", cluster.nodes[0].ports[4222])
        await reader.readline()  # INFO
        writer.write(b'CONNECT {"verbose": false}\r\nPING\r\n')
        assert b"PONG" not in await reader.read()  # to the end: the server hangs up
        writer.close()


async def test_no_stranger_joins_the_cluster(cluster: Rendered, tmp_path: Path) -> None:
    """A fourth node with the right certificate and a wrong route password."""
    places = [*cluster.places, {port: free_port() for port in PORTS}]
    stranger = Node(3, cluster.manifests, places, tmp_path)
    password = cluster.login["route-password"]
    stranger.environment = {name: text.replace(password, "wrong") for name, text in stranger.environment.items()}
    stranger.launch()
    try:
        await eventually(lambda: "Authorization Violation" in stranger.log_file.read_text(), "it is rejected")
        routes = await cluster.nodes[0].asked("/routez")
        assert routes is not None
        assert "jetpost-nats-1" in routes
        assert "jetpost-nats-3" not in routes
    finally:
        await stranger.kill()


async def test_every_probe_is_answered(cluster: Rendered) -> None:
    for node in cluster.nodes:
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            await eventually_asked(partial(node.is_well, probe), f"{node.pod} answers its {probe}")
