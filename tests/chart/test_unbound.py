"""The resolver of the chart, run for real: its configuration is valid, it answers, and its probe asks it."""

import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import dns.asyncresolver
import pytest
import pytest_asyncio

from jetpost.up.probe import free_port
from tests.fixtures.chart import CHART, Manifest, named, render
from tests.fixtures.eventually import eventually
from tests.fixtures.process import Process
from tests.fixtures.zone import ServedZone

pytestmark = pytest.mark.chart

ENABLED = (
    "delivery.unbound.enabled=true",
    'delivery.unbound.image="unbound"',
    'delivery.unbound.forward={"cluster.local": ["10.96.0.10"], "ours.test": ["10.96.0.10"]}',
)


def program(name: str) -> str:
    """Where a program of Debian's package unbound is; skips the test when it is nowhere."""
    found = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin")
    if found is None:
        pytest.skip("needs the Debian package unbound")
    return found


@pytest.fixture
def manifests() -> list[Manifest]:
    return render(CHART / "ci/minimal.yaml", *ENABLED)


@pytest.fixture
def sidecar(manifests: list[Manifest]) -> Manifest:
    """The container beside delivery."""
    (container,) = named(manifests, "Deployment", "jetpost-delivery")["spec"]["template"]["spec"]["initContainers"]
    found: Manifest = container
    return found


def written(manifests: list[Manifest], folder: Path, port: int, name_server: str) -> Path:
    """The rendered configuration with this machine's places."""
    text: str = named(manifests, "ConfigMap", "jetpost-unbound")["data"]["unbound.conf"]
    host, _, server_port = name_server.rpartition(":")
    for there, here in {
        "port: 5353": f"port: {port}",
        '"/etc/unbound"': f'"{folder}"',
        "/run/unbound": str(folder),
        "forward-addr: 10.96.0.10": f"forward-addr: {host}@{server_port}",
    }.items():
        assert there in text
        text = text.replace(there, here)
    # The name server of the tests is on loopback, where that of a cluster is not.
    text = text.replace("server:\n", "server:\n  do-not-query-localhost: no\n", 1)
    file = folder / "unbound.conf"
    file.write_text(text)
    return file


@pytest_asyncio.fixture(loop_scope="session")
async def resolver(manifests: list[Manifest], names: ServedZone, tmp_path: Path) -> AsyncIterator[tuple[int, Path]]:
    """A running one: its port and its configuration."""
    port = free_port()
    file = written(manifests, tmp_path, port, names.address)
    process = Process("unbound", [program("unbound"), "-d", "-p", "-c", str(file)], tmp_path / "unbound.log")
    process.launch()
    try:
        yield port, file
    finally:
        await process.stop()


def test_the_configuration_is_valid(manifests: list[Manifest], tmp_path: Path) -> None:
    file = written(manifests, tmp_path, 5353, "127.0.0.1:53")

    checked = subprocess.run(  # noqa: S603 — Debian's own
        [program("unbound-checkconf"), str(file)], capture_output=True, text=True, timeout=60, check=False
    )

    assert checked.returncode == 0, checked.stderr
    assert checked.stderr == ""


@pytest.mark.asyncio(loop_scope="session")
async def test_it_answers_and_its_probes_say_so(
    resolver: tuple[int, Path], sidecar: Manifest, names: ServedZone
) -> None:
    port, file = resolver
    names.add("mx.ours.test", a=["192.0.2.25"])
    words: list[str] = sidecar["livenessProbe"]["exec"]["command"]
    assert sidecar["startupProbe"]["exec"]["command"] == words
    probe = [program(words[0]), *(str(file) if word.endswith("unbound.conf") else word for word in words[1:])]

    def is_well() -> bool:
        return subprocess.run(probe, capture_output=True, timeout=60, check=False).returncode == 0  # noqa: S603 — ours

    await eventually(is_well, "the probe succeeds")

    asking = dns.asyncresolver.Resolver(configure=False)
    asking.nameservers, asking.port = ["127.0.0.1"], port
    answer = await asking.resolve("mx.ours.test", "A")
    assert [record.address for record in answer] == ["192.0.2.25"]


def test_it_is_there_before_delivery_and_after_it(sidecar: Manifest) -> None:
    """What Kubernetes calls a sidecar: an init container that is kept running, and ended last."""
    assert sidecar["restartPolicy"] == "Always"
