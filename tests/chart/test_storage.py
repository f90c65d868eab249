"""The volume of a nats-server: what JetStream may fill of it, and what is looked at before.

The servers are real, with the rendered configuration and the rendered commands.
"""

import asyncio
import contextlib
import re
import shutil
import signal
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import nats
import nats.errors
import pytest
import pytest_asyncio
from nats.aio.client import Client as NatsClient
from nats.js import JetStreamContext
from nats.js.api import StreamConfig

from jetpost.up.probe import free_port
from tests.chart.test_bundled_nats import MINIMAL, PORTS, Node, Rendered, cluster, secret
from tests.fixtures.chart import named, render
from tests.fixtures.eventually import eventually, eventually_asked

__all__ = ["cluster"]
pytestmark = [pytest.mark.chart, pytest.mark.asyncio(loop_scope="session")]

MIB = 1024 * 1024
CONTENT = b"x" * MIB
STREAM = "jetstream/$G/streams/MAIL"


def limit(*settings: str) -> int:
    conf = named(render(MINIMAL, *settings), "ConfigMap", "jetpost-nats")["data"]["nats.conf"]
    found = re.search(r"max_file_store: (\d+)$", conf, re.MULTILINE)
    assert found is not None
    return int(found[1])


@pytest.mark.parametrize(
    ("size", "volume_bytes"),
    [
        ("20Gi", 20 * 2**30),
        ("1Gi", 2**30),
        ("100Mi", 100 * MIB),
        ("1Mi", MIB),
        ("500M", 500 * 10**6),
        ("5G", 5 * 10**9),
        ("2T", 2 * 10**12),
        ("16Ti", 16 * 2**40),
    ],
)
async def test_the_size_alone_is_enough(size: str, volume_bytes: int) -> None:
    found = limit(f'nats.bundled.storage.size="{size}"')

    assert volume_bytes / 2 <= found <= volume_bytes * 0.9
    assert volume_bytes - found >= min(128 * MIB, volume_bytes / 2)


async def test_a_limit_that_fits_is_taken() -> None:
    assert limit('nats.bundled.storage.maxFileStore="15GB"') == 15 * 2**30
    assert limit('nats.bundled.storage.maxFileStore="19GB"') == 19 * 2**30
    assert limit('nats.bundled.storage.size="1Ti"', 'nats.bundled.storage.maxFileStore="900MB"') == 900 * MIB


@pytest_asyncio.fixture(loop_scope="session")
async def lone(tmp_path: Path) -> AsyncIterator[Node]:
    """A server alone, not started."""
    node = Node(0, render(MINIMAL, "nats.bundled.replicas=1"), [{port: free_port() for port in PORTS}], tmp_path)
    try:
        yield node
    finally:
        await node.stop()


async def connected(node: Node) -> NatsClient:
    login = secret(node.manifests, "jetpost-nats-auth")
    options = {"user": login["user"].decode(), "password": login["password"].decode(), "error_cb": _nothing}
    trust = ssl.create_default_context(cafile=str(node.ca_file))
    return await nats.connect(node.url, tls=trust, allow_reconnect=False, **options)


async def _nothing(_: Exception) -> None:
    """What a server says is seen in what it does not answer."""


async def written(connection: NatsClient, replicas: int, messages: int) -> int:
    """Publish so many messages of a MiB to a stream that is made for them; how many were answered.

    One that gets no answer may be stored all the same, so the number is what the stream has at the most: a server that
    lacks them needs as much room, and once more for its Raft log.
    """
    stream = connection.jetstream(timeout=3)
    await eventually_asked(lambda: made(stream, replicas), "there is a stream")
    answered = 0
    for _ in range(messages):
        with contextlib.suppress(nats.errors.Error):
            await stream.publish("mail.x", CONTENT)
            answered += 1
    return answered


async def made(stream: JetStreamContext, replicas: int) -> bool:
    try:
        await stream.add_stream(StreamConfig("MAIL", subjects=["mail.>"], num_replicas=replicas))
    except nats.errors.Error:
        return False
    return True


async def says(node: Node, text: str) -> bool:
    """Whether its health does."""
    told = await node.told("/healthz?details=true")
    return told is not None and text in told


async def test_a_server_without_a_quorum_is_alive(cluster: Rendered) -> None:
    left, *lost = cluster.nodes
    for node in lost:
        node.signal(signal.SIGSTOP)
    try:
        await eventually_asked(lambda: _is_unwell(left), "it misses the others")
        assert await left.is_alive()
    finally:
        for node in lost:
            node.signal(signal.SIGCONT)


async def _is_unwell(node: Node) -> bool:
    return not await node.is_well()


async def test_a_server_that_hangs_is_not_alive_and_not_ended_by_the_probe(lone: Node) -> None:
    lone.launch()
    await lone.ready()
    lone.signal(signal.SIGSTOP)
    try:
        assert not await lone.is_well("livenessProbe")
        assert "does not answer" in (lone.folder / "probe").read_text()
    finally:
        lone.signal(signal.SIGCONT)
    assert await lone.is_alive(), "the kubelet counts to twelve first"


async def test_a_stream_that_is_missing_is_no_reason_to_restart(lone: Node) -> None:
    lone.launch()
    await lone.ready()
    connection = await connected(lone)
    assert await written(connection, replicas=1, messages=2) == 2
    await connection.close()
    await lone.kill()
    shutil.rmtree(lone.folder / "data" / STREAM / "obs")
    (lone.folder / "data" / STREAM / "obs").write_bytes(b"")

    lone.launch()
    await eventually_asked(lambda: says(lone, "could not be recovered"), "it misses a stream")
    assert await lone.is_alive()


async def test_a_pod_does_not_start_on_files_that_its_server_cannot_open(lone: Node) -> None:
    assert await lone.checked() == 0, "at its first start there is nothing"
    lone.launch()
    await lone.ready()
    connection = await connected(lone)
    assert await written(connection, replicas=1, messages=3) == 3
    await connection.close()
    await lone.kill()
    assert await lone.checked() == 0

    block = lone.folder / "data" / STREAM / "msgs/1.blk"
    head = block.read_bytes()[:64]
    _overwritten(block, bytes(64))
    assert await lone.checked() == 78
    said = (lone.folder / "store").read_text()
    assert f"{block} does not begin with a record" in said
    assert "docs/runbooks/nats-server-is-down.md" in said

    _overwritten(block, head)
    assert await lone.checked() == 0
    lone.launch()
    await lone.ready()


def _overwritten(path: Path, data: bytes) -> None:
    with path.open("r+b") as file:
        file.write(data)


async def test_the_check_waits_for_a_predecessor_on_the_volume(lone: Node) -> None:
    """A pod that was deleted by force may still write: what is half written is not judged."""
    lone.launch()
    await lone.ready()
    checking = asyncio.create_task(lone.checked())
    await eventually(lambda: "is in use" in _said(lone.folder / "store"), "it waits")
    await lone.stop()
    assert await checking == 0


def _said(file: Path) -> str:
    return file.read_text() if file.exists() else ""


async def test_the_init_container_is_ours_whatever_runs_nats_server() -> None:
    for image in ("", "nats:2.15.3-alpine"):
        manifests = render(MINIMAL, f'nats.bundled.image="{image}"')
        pod = named(manifests, "StatefulSet", "jetpost-nats")["spec"]["template"]["spec"]
        ingress = named(manifests, "Deployment", "jetpost-ingress")["spec"]["template"]["spec"]["containers"][0]
        (before,) = pod["initContainers"]
        assert before["image"] == ingress["image"]
        assert ("exec" in pod["containers"][0]["livenessProbe"]) == (not image)
