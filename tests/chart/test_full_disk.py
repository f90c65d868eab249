"""A full volume of a nats-server: its probes end it when there is room again, and not before.

The servers are real, with the rendered configuration and the rendered commands; a volume is a small file system in
memory.
"""

import asyncio
import contextlib
import json
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import nats.errors
import pytest
import pytest_asyncio
from nats.aio.client import Client as NatsClient

from tests.chart.test_bundled_nats import MINIMAL, Node, Rendered
from tests.chart.test_storage import CONTENT, MIB, connected, lone, made, says, written
from tests.fixtures.chart import render
from tests.fixtures.eventually import eventually_asked

__all__ = ["lone"]
pytestmark = [pytest.mark.chart, pytest.mark.asyncio(loop_scope="session")]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts a small volume")


@contextlib.contextmanager
def small_volume(node: Node, mib: int) -> Iterator[Path]:
    """A volume of so many MiB in the place of the node's data; needs root."""
    folder = node.folder / "data"
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "jetpost-test", folder], check=True)  # noqa: S603, S607
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)  # noqa: S603, S607


def occupy(volume: Path, left_mib: int) -> None:
    """Let somebody else take the volume, but for so many MiB."""
    room = os.statvfs(volume)
    with (volume / "other").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - left_mib * MIB)


async def ended(node: Node) -> bool:
    """Whether its liveness probe has ended it: runs the probe when it has not."""
    if node.exit_status is None:
        await node.is_well("livenessProbe")
    return "nats-server is restarted: there is room on its disk again" in node.log_file.read_text()


@needs_root
async def test_a_lone_server_takes_mail_again_when_its_disk_has_room(lone: Node) -> None:
    with small_volume(lone, 200) as volume:
        lone.launch()
        await lone.ready()
        assert await lone.is_alive()
        occupy(volume, left_mib=10)
        assert await lone.is_alive(), "nobody wrote yet"
        connection = await connected(lone)
        stored = await written(connection, replicas=1, messages=12)
        await eventually_asked(lambda: says(lone, "no space left on device"), "it is full")

        # Full: it is up, and reads.
        for _ in range(3):
            assert await lone.is_alive()
        assert await lone.is_well("startupProbe")
        assert len((await connection.jetstream().get_msg("MAIL", 1)).data or b"") == MIB
        (volume / "other").write_bytes(b"")
        occupy(volume, left_mib=15)
        assert await lone.is_alive(), "this is no room: it would be full again at once"
        (volume / "other").unlink()

        # Room: it still takes nothing, and is ended in peace.
        with pytest.raises(nats.errors.Error):
            await connection.jetstream(timeout=1).publish("mail.x", b"small")
        await connection.close()
        await eventually_asked(lambda: ended(lone), "it is ended by its probe")
        assert await lone.gone() == 0

        lone.launch()
        await lone.ready()
        assert await lone.is_alive()
        connection = await connected(lone)
        assert (await connection.jetstream().publish("mail.x", b"small")).seq >= stored + 1
        await connection.close()
        await lone.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def three(tmp_path: Path) -> AsyncIterator[Rendered]:
    """Three nodes, ready, each with a small volume."""
    rendered = Rendered(render(MINIMAL), tmp_path)
    with contextlib.ExitStack() as volumes:
        for node in rendered.nodes:
            volumes.enter_context(small_volume(node, 300))
        try:
            for node in rendered.nodes:
                node.launch()
            for node in rendered.nodes:
                await node.ready()
            yield rendered
        finally:
            for node in rendered.nodes:
                await node.stop()


async def chosen(three: Rendered, *, leads: bool) -> Node:
    """The node that leads the metadata group, or one that does not."""

    async def leader() -> str | None:
        told = await three.nodes[0].asked("/jsz")
        return None if told is None else str(json.loads(told)["meta_cluster"].get("leader", ""))

    name = await eventually_asked(leader, "the cluster has a leader")
    return next(node for node in three.nodes if (node.pod == name) == leads)


@contextlib.asynccontextmanager
async def written_until_off(three: Rendered, full: Node) -> AsyncIterator[NatsClient]:
    """Fill the disk of one node with mail until its JetStream is being switched off; a connection to another one.

    What is stored until then is more than it has left, and less than it has when it is to take that once more.
    """
    occupy(full.folder / "data", left_mib=60)
    connection = await connected(next(node for node in three.nodes if node is not full))
    stream = connection.jetstream(timeout=3)

    async def write() -> None:
        await eventually_asked(lambda: made(stream, 3), "there is a stream")
        for _ in range(100):
            await eventually_asked(lambda: _takes(connection, CONTENT), "a message is stored")

    writing = asyncio.create_task(write())
    try:
        await eventually_asked(lambda: says(full, "JetStream not enabled"), "its JetStream is off")
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
    yield connection
    await connection.close()


async def is_off(node: Node) -> bool:
    """Whether its JetStream is switched off as a whole: until then it may discard its copy, and write it again."""
    return "[INF] JetStream Shutdown" in node.log_file.read_text() and await node.told("/raftz") == "{}"


@needs_root
async def test_one_of_three_comes_back_when_its_disk_has_room(three: Rendered) -> None:
    full = await chosen(three, leads=False)
    volume = full.folder / "data"
    async with written_until_off(three, full) as connection:
        await eventually_asked(lambda: is_off(full), "its JetStream is off as a whole")
        # What its Raft logs had is free now, and taken by somebody else.
        (volume / "other").unlink()
        occupy(volume, left_mib=10)
        for node in three.nodes:
            assert await node.is_alive(), node.pod
        await eventually_asked(lambda: _takes(connection, b"small"), "the other two take mail")

        (volume / "other").unlink()
        await eventually_asked(lambda: ended(full), "it is ended by its probe")
        assert await full.gone() == 0
        full.launch()
        await full.ready()
        assert await full.is_alive()


@needs_root
async def test_a_server_is_not_ended_while_it_switches_jetstream_off(three: Rendered) -> None:
    """The leader takes seconds for it. In these it discards its copy of the stream and gets it again."""
    full = await chosen(three, leads=True)
    async with written_until_off(three, full):
        (full.folder / "data/other").unlink()
        await eventually_asked(lambda: ended(full), "it is ended by its probe")
        assert await full.gone() == 0
        before, _, _ = full.log_file.read_text().partition("nats-server is restarted")
        assert "Initiating JetStream Shutdown" in before, "from then on it discards nothing"
        full.launch()
        await full.ready()
        assert await full.is_alive()


async def _takes(connection: NatsClient, content: bytes) -> bool:
    try:
        await connection.jetstream(timeout=3).publish("mail.x", content)
    except nats.errors.Error:
        return False
    return True
