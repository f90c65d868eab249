"""Where the embedded nats-server stages its batches."""

import sys
from pathlib import Path

import pytest

from jetpost.up.nats import nats_server, staging

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is a file system on Linux alone")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `store_dir` with the stream MAIL; a folder stands for the memory."""
    memory = tmp_path / "memory"
    memory.mkdir()
    monkeypatch.setattr(staging, "_MEMORY", memory)
    monkeypatch.setattr(staging, "_LEAST_FREE_BYTES", 0)
    store = tmp_path / "store"
    (store / "jetstream/$G/streams/MAIL").mkdir(parents=True)
    return store


def batches(store: Path) -> Path:
    """Where the server looks."""
    return store / "jetstream/$G/streams/MAIL/batches"


def test_a_stream_stages_in_memory(store: Path) -> None:
    staging.link(store)
    (batches(store) / "one").mkdir()
    staging.link(store)  # a batch under way is not disturbed
    folder = staging.folder_in_memory(store)
    assert folder is not None
    assert (folder / "MAIL" / "one").is_dir()
    assert folder.stat().st_mode & 0o077 == 0


def test_an_empty_folder_on_disk_gives_way(store: Path) -> None:
    batches(store).mkdir()
    staging.link(store)
    assert batches(store).is_symlink()


def test_a_batch_on_disk_stays(store: Path) -> None:
    (batches(store) / "one").mkdir(parents=True)
    staging.link(store)
    assert (batches(store) / "one").is_dir()
    assert not batches(store).is_symlink()


def test_a_new_life_of_the_server_begins_empty(store: Path) -> None:
    staging.link(store)
    (batches(store) / "left").mkdir()
    batches(store).unlink()  # as the server does at its start
    staging.link(store)
    assert list(batches(store).iterdir()) == []


def test_without_room_nothing_changes(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "_LEAST_FREE_BYTES", 1 << 62)
    staging.link(store)
    assert not batches(store).exists()


def test_the_memory_is_given_back(store: Path) -> None:
    staging.link(store)
    folder = staging.folder_in_memory(store)
    assert folder is not None
    staging.clear(store)
    assert not folder.exists()


def test_the_version_that_comes_with_jetpost_is_tested() -> None:
    binary = nats_server.packaged()
    assert binary is not None
    assert staging.is_tested(nats_server.version(binary))


@pytest.mark.parametrize("version", [(), (2, 15), (2, 15, 0), (2, 15, 2), (2, 15, 4), (2, 16, 0), (2, 15, 3, 1)])
def test_any_other_version_stages_on_disk(version: tuple[int, ...]) -> None:
    assert not staging.is_tested(version)
