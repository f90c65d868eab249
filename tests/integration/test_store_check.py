"""The files of a nats-server are looked at before it starts: what it would leave out or throw away is told."""

import os
import shutil
import socket
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from typer.testing import CliRunner

from jetpost.cli.main import app
from jetpost.store.check import MOST_FAULTS, Fault, faults
from jetpost.store.head import HEAD_BYTES
from jetpost.store.mend import mend
from tests.fixtures.nats import NatsCluster, NatsServer
from tests.fixtures.stored import (
    MESSAGES,
    NOBODY,
    STREAM,
    copied,
    filled,
    publishes_until_cut_off,
    stored,
    unprivileged,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")

Harm = Callable[[Path], object]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def killed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Path]:
    """The store of a server that was killed, and so reads all its blocks at its next start."""
    folder = tmp_path_factory.mktemp("killed")
    server = await NatsServer(folder).start()
    await filled(server)
    await server.kill()
    yield server._store


def blocks(store: Path) -> list[Path]:
    return sorted((store / STREAM / "msgs").glob("*.blk"), key=lambda path: int(path.stem))


def overwrite(path: Path, data: bytes, at: int = 0) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def file_instead(path: Path) -> None:
    shutil.rmtree(path)
    path.write_bytes(b"")
    os.chown(path, path.parent.stat().st_uid, -1)


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()
    os.chown(path, path.parent.stat().st_uid, -1)


def linked_to_nothing(path: Path) -> None:
    path.unlink()
    path.symlink_to("/nowhere")


def linked_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def socket_instead(path: Path) -> None:
    path.unlink()
    here = Path.cwd()
    os.chdir(path.parent)  # the address of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path.name)
    finally:
        os.chdir(here)
    os.chown(path, path.parent.stat().st_uid, -1)


def first(store: Path) -> Path:
    return blocks(store)[0]


def last(store: Path) -> Path:
    return blocks(store)[-1]


LOSES: dict[str, tuple[Callable[[Path], Path], Harm]] = {
    "zeros at the head of a block": (first, lambda path: overwrite(path, bytes(64))),
    "noise at the head of a block": (first, lambda path: overwrite(path, b"\xa5" * 64)),
    "text at the head of a block": (first, lambda path: overwrite(path, b"From: somebody@example.org\r\n" * 4)),
    "a bit in the length": (first, lambda path: overwrite(path, b"\xff", 2)),
    "a bit in the sequence": (first, lambda path: overwrite(path, b"\x99", 4)),
    "a bit in the subject": (first, lambda path: overwrite(path, b"X", 24)),
    "a byte of the first content": (first, lambda path: overwrite(path, b"!!", 200)),
    "the last block's head": (last, lambda path: overwrite(path, bytes(64))),
    "a block cut off in its first record": (first, lambda path: os.truncate(path, 300)),
    "a block of a few bytes": (first, lambda path: os.truncate(path, 7)),
    "a folder where a block should be": (first, folder_instead),
    "a folder where the last block should be": (last, folder_instead),
    "a socket where a block should be": (first, socket_instead),
    "a block that is a link to nowhere": (first, linked_to_nothing),
    "a block that is a link to itself": (first, linked_to_itself),
    "a file where the consumers should be": (lambda store: store / STREAM / "obs", file_instead),
    "a file where the blocks should be": (lambda store: store / STREAM / "msgs", file_instead),
    "no folder of blocks": (lambda store: store / STREAM / "msgs", shutil.rmtree),
    "a file where the stream should be": (lambda store: store / STREAM, file_instead),
    "a file where the streams should be": (lambda store: store / STREAM.parent, file_instead),
    "no configuration": (lambda store: store / STREAM / "meta.inf", Path.unlink),
    "an empty configuration": (lambda store: store / STREAM / "meta.inf", lambda path: os.truncate(path, 0)),
    "half a configuration": (lambda store: store / STREAM / "meta.inf", lambda path: os.truncate(path, 90)),
    "another configuration": (lambda store: store / STREAM / "meta.inf", lambda path: overwrite(path, b"\0", 50)),
    "a folder where the configuration should be": (lambda store: store / STREAM / "meta.inf", folder_instead),
    "a folder where its checksum should be": (lambda store: store / STREAM / "meta.sum", folder_instead),
}
"""What takes messages away from the stream when a server starts on it, and where it is done."""

HARMS: dict[str, tuple[Callable[[Path], Path], Harm]] = {
    "a file where a consumer should be": (lambda store: store / STREAM / "obs/delivery", file_instead),
    "a folder where a consumer's state should be": (
        lambda store: store / STREAM / "obs/delivery/o.dat",
        folder_instead,
    ),
    "a folder where the state should be": (lambda store: store / STREAM / "msgs/sched.db", lambda path: path.mkdir()),
    "a file where batches should be": (lambda store: store / STREAM / "batches", lambda path: path.write_bytes(b"")),
}
"""What stops a part of the stream."""


def judged(store: Path) -> list[Fault]:
    with unprivileged():
        return faults(store)


@pytest.mark.parametrize("name", LOSES)
async def test_what_a_server_would_lose_is_told(killed: Path, tmp_path: Path, name: str) -> None:
    place, harm = LOSES[name]
    with copied(killed) as store:
        assert judged(store) == []
        path = place(store)
        harm(path)
        told = judged(store)
        assert told, name
        assert (path in {fault.path for fault in told}) or any(path.parent in fault.path.parents for fault in told)

        # And it is no false alarm: this is what a server makes of it.
        server = NatsServer(tmp_path)
        shutil.copytree(
            store, server._store, symlinks=True, ignore=shutil.ignore_patterns(*(["*.blk"] if path.is_socket() else []))
        )
        server.launch()
        try:
            await server.healthy()
            left = await stored(server)
        except AssertionError:
            left = None  # it does not even start
        finally:
            await server.kill()
        assert left is None or left < MESSAGES


@pytest.mark.parametrize("name", HARMS)
async def test_what_a_server_cannot_open_is_told(killed: Path, name: str) -> None:
    place, harm = HARMS[name]
    with copied(killed) as store:
        harm(place(store))
        assert [fault.path for fault in judged(store)] == [place(store)]


PLACES = [
    "",
    "jetstream",
    "jetstream/$G",
    STREAM.parent,
    STREAM,
    STREAM / "meta.inf",
    STREAM / "meta.sum",
    STREAM / "msgs",
    STREAM / "msgs/1.blk",
    STREAM / "msgs/2.blk",
    STREAM / "obs",
    STREAM / "obs/delivery",
    STREAM / "obs/delivery/meta.inf",
    STREAM / "obs/delivery/o.dat",
]


@pytest.mark.parametrize("place", PLACES, ids=str)
async def test_what_is_closed_to_the_server_is_told(killed: Path, place: str | Path) -> None:
    with copied(killed) as store:
        path = store / place
        for mode in (0o000, 0o200, 0o400):
            path.chmod(mode)
            assert [fault.path for fault in judged(store)] == [path], oct(mode)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("place", PLACES[3:], ids=str)
async def test_what_belongs_to_a_stranger_is_told(killed: Path, place: str | Path) -> None:
    with copied(killed) as store:
        path = store / place
        os.chown(path, 4711, 4711)
        path.chmod(0o700 if path.is_dir() else 0o600)
        assert [fault.path for fault in judged(store)] == [path]
        # Root can open it; but whoever runs the server another time cannot.
        assert [fault.path for fault in faults(store)] == [path]
        # A group may be what opens it (`fsGroup`).
        os.chown(path, 4711, NOBODY)
        path.chmod(0o770 if path.is_dir() else 0o660)
        os.setegid(NOBODY)
        try:
            assert judged(store) == []
        finally:
            os.setegid(0)


async def test_no_state_of_a_lone_server_is_a_fault(tmp_path: Path) -> None:
    server = NatsServer(tmp_path)
    assert faults(server._store) == []
    server._store.mkdir()
    assert faults(server._store) == []
    await server.start()
    assert faults(server._store) == []
    await filled(server)
    for round_ in range(6):
        await publishes_until_cut_off(server, 0.05 * round_)
        assert faults(server._store) == []
        await server.start()
        assert faults(server._store) == [], "while it runs, and nobody writes"
    await server.stop()
    assert faults(server._store) == []


async def test_no_state_of_a_cluster_is_a_fault(tmp_path: Path) -> None:
    async with NatsCluster(tmp_path) as cluster:
        await filled(cluster.servers[0], messages=40, replicas=3)
        for server in cluster.servers[::-1]:
            await publishes_until_cut_off(server, 0.1)
            assert faults(server._store) == []
    for server in cluster.servers:
        assert list(server._store.glob("jetstream/$SYS/_js_/*/msgs/*.blk"))
        assert faults(server._store) == []


async def test_a_raft_group_is_looked_at(tmp_path: Path) -> None:
    async with NatsCluster(tmp_path) as cluster:
        await filled(cluster.servers[0], messages=40, replicas=3)
    store = cluster.servers[0]._store
    group = next(path for path in sorted(store.glob("jetstream/$SYS/_js_/*")) if path.name.startswith("S-"))
    for path in (group / "peers.idx", group / "tav.idx", next(group.glob("msgs/*.blk"))):
        folder_instead(path)
        assert [fault.path for fault in faults(store)] == [path]
        path.rmdir()


HALF_DONE: dict[str, Harm] = {
    "a record that was not finished": lambda store: os.truncate(last(store), last(store).stat().st_size - 100),
    "zeros at the end": lambda store: os.truncate(last(store), last(store).stat().st_size + 4096),
    "a new block, empty": lambda store: _write(store / STREAM / "msgs/99.blk", b""),
    "a new block with half a header": lambda store: _write(store / STREAM / "msgs/99.blk", b"\x10\x00\x00"),
    "a new block with half a record": lambda store: _write(
        store / STREAM / "msgs/99.blk", last(store).read_bytes()[:100]
    ),
    "a new block of zeros": lambda store: _write(store / STREAM / "msgs/99.blk", bytes(3 * HEAD_BYTES)),
    "a stream that was being made": lambda store: (store / STREAM.parent / "NEW/msgs").mkdir(parents=True),
    "a stream whose checksum was not written": lambda store: _begun(store / STREAM.parent / "NEW"),
    "a stream that is being deleted": lambda store: _write(store / STREAM.parent / ".OLD/msgs", b""),
    "a consumer that was being made": lambda store: (store / STREAM / "obs/late").mkdir(),
    "a purge that was not finished": lambda store: _purging(store / STREAM),
    "temporary files": lambda store: _write(store / STREAM / "meta.inf.tmp", b"{"),
    "a damaged state": lambda store: _write(store / STREAM / "msgs/index.db", b"\x16\x00"),
    "batches staged in memory that is gone": lambda store: (store / STREAM / "batches").symlink_to("/dev/shm/gone"),  # noqa: S108
    "a folder that is a link": lambda store: _moved(store / STREAM, store.parent / "elsewhere"),
    "what a file system keeps for itself": lambda store: (store / "lost+found").mkdir(mode=0),
    "a compressed block": lambda store: _write(first(store), b"cmp\x01" + bytes(100)),
    "an encrypted block": lambda store: _encrypted(first(store)),
}
"""What a server, a power cut or an operator leaves, and a server can go on from."""


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    os.chown(path, path.parent.stat().st_uid, -1)


def _begun(stream: Path) -> None:
    (stream / "msgs").mkdir(parents=True)
    (stream / "msgs/1.blk").write_bytes(b"")
    (stream / "meta.inf").write_bytes(b"{}")


def _purging(stream: Path) -> None:
    (stream / "__new_msgs__").mkdir()
    newest = last(stream.parents[3])
    newest.rename(stream / "__new_msgs__" / newest.name)
    (stream / "msgs").rename(stream / "__msgs__")


def _encrypted(block: Path) -> None:
    _write(block.with_suffix(".key"), bytes(64))
    overwrite(block, b"#" * 99)


def _moved(folder: Path, to: Path) -> None:
    folder.rename(to)
    folder.symlink_to(to)


@pytest.mark.parametrize("name", HALF_DONE)
async def test_what_was_only_begun_is_no_fault(killed: Path, name: str) -> None:
    with copied(killed) as store:
        HALF_DONE[name](store)
        assert faults(store) == []


@pytest.mark.parametrize("update", [b',"retention":"limits","description":"new"', None], ids=["changed", "new"])
async def test_a_configuration_whose_checksum_was_not_written_gets_it(
    killed: Path, tmp_path: Path, update: bytes | None
) -> None:
    """nats-server was killed between the two files, and would leave the stream out."""
    server = NatsServer(tmp_path)
    shutil.copytree(killed, server._store)
    configuration, checksum = server._store / STREAM / "meta.inf", server._store / STREAM / "meta.sum"
    if update is None:
        checksum.unlink()
    else:
        told = configuration.read_bytes()
        configuration.write_bytes(told.replace(b',"retention":"limits"', update))
        assert configuration.read_bytes() != told
    assert faults(server._store) == []
    await server.start()
    assert await stored(server) is None, "nats-server leaves it out"
    await server.kill()

    assert mend(server._store) == ["MAIL"]
    assert (faults(server._store), mend(server._store)) == ([], [])
    await server.start()
    assert await stored(server) == MESSAGES
    await server.stop()


async def test_a_long_first_record_is_not_read_to_its_end(killed: Path) -> None:
    """Large content fills blocks by itself; its length must fit, and no more is known of it."""
    with copied(killed) as store:
        size = 4 * HEAD_BYTES
        record = struct.pack("<LQQH", size, 1, 1_700_000_000_000_000_000, 4)
        _write(first(store), record.ljust(size, b"x"))
        assert faults(store) == []
        os.truncate(first(store), size - 1)
        assert [fault.path for fault in faults(store)] == [first(store)]


async def test_the_command_names_the_files_and_the_runbook(killed: Path) -> None:
    with copied(killed) as store:
        sound = CliRunner().invoke(app, ["store", "check", str(store)])
        assert (sound.exit_code, sound.output) == (0, f"{store}: no faults\n")
        file_instead(store / STREAM / "obs")
        found = CliRunner().invoke(app, ["store", "check", str(store)])
    assert found.exit_code == 78
    assert f"{store / STREAM / 'obs'} is not a folder\n" in found.output
    assert "docs/runbooks/nats-server-is-down.md" in found.output


async def test_thousands_of_faults_are_told_in_a_few_lines(tmp_path: Path) -> None:
    streams = tmp_path / STREAM.parent
    streams.mkdir(parents=True)
    for number in range(3000):
        (streams / f"S\n{number}").write_bytes(b"")
    told = CliRunner().invoke(app, ["store", "check", str(tmp_path)]).output

    assert len(told.splitlines()) == MOST_FAULTS + 2
