"""Links to the files of streams: complete or unused, whenever the process that makes them is killed."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jetpost.up.nats import aside

FILES = {
    "MAIL/meta.inf": "configuration",
    "MAIL/meta.sum": "checksum",
    "MAIL/msgs/1.blk": "letters",
    "MAIL/msgs/2.blk": "more letters",
    "MAIL/obs/ready/o.dat": "acks",
    "CONTENT/meta.inf": "configuration",
    "CONTENT/meta.sum": "checksum",
    "CONTENT/msgs/1.blk": "content",
}
CHANGES = ("link", "mkdir", "rename", "rmdir", "unlink", "chmod", "fsync")
"""What changes a file system in the code under test and the library functions that it calls."""


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with two streams, one of them staging in memory."""
    store = tmp_path / "store"
    for name, text in FILES.items():
        file = aside.streams(store) / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (aside.streams(store) / "MAIL/batches").symlink_to(tmp_path / "memory")
    return store


def content(store: Path) -> dict[str, str]:
    """Every file of every stream."""
    place = aside.streams(store)
    return {
        str(file.relative_to(place)): file.read_text()
        for file in place.rglob("*")
        if file.is_file() and not file.relative_to(place).parts[0].startswith(".")
    }


@contextmanager
def killed_at(monkeypatch: pytest.MonkeyPatch, step: int) -> Iterator[list[int]]:
    """Kill the process instead of its `step`-th change of the file system; the list has how many there were."""
    count = [0]

    def counted(change: Callable[..., object]) -> Callable[..., object]:
        def counting(*args: object, **options: object) -> object:
            count[0] += 1
            if count[0] > step:
                raise Killed
            return change(*args, **options)

        return counting

    with monkeypatch.context() as patched:
        for name in CHANGES:
            patched.setattr(os, name, counted(getattr(os, name)))
        yield count


def every_step(
    store: Path, monkeypatch: pytest.MonkeyPatch, work: Callable[[Path], object], then: Callable[[Path], object]
) -> int:
    """Kill `work` at each of its steps, on a copy of `store` each time, and do `then`; how many steps there are."""
    step = 0
    while True:
        copy = store.with_name("copy")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(store, copy, symlinks=True)
        try:
            with killed_at(monkeypatch, step):
                work(copy)
        except Killed:
            then(copy)
            step += 1
        else:
            then(copy)
            return step


def recovered(store: Path) -> None:
    """What the next start does before the server starts."""
    aside.put_back(store, aside.gone(store))
    aside.keep(store)


def delete(store: Path, name: str) -> None:
    """As nats-server deletes a stream: the seal first, then out of the way, then everything."""
    stream = aside.streams(store) / name
    (stream / "meta.inf").unlink()
    hidden = stream.with_name(f".{name}")
    stream.rename(hidden)
    shutil.rmtree(hidden)


def test_what_nats_server_deletes_is_put_back_with_what_was_appended(store: Path) -> None:
    aside.keep(store)
    with (aside.streams(store) / "MAIL/msgs/2.blk").open("a") as block:
        block.write(", and one more")
    delete(store, "MAIL")

    assert aside.gone(store) == ["MAIL"]
    assert aside.put_back(store, ["MAIL"]) == ["MAIL"]

    assert content(store) == {**FILES, "MAIL/msgs/2.blk": "more letters, and one more"}
    assert (aside.streams(store) / "MAIL/batches").is_symlink()
    assert aside.gone(store) == []


def test_no_data_are_copied(store: Path) -> None:
    aside.keep(store)
    block = aside.streams(store) / "MAIL/msgs/1.blk"
    assert block.stat().st_nlink == 2
    aside.let_go(store)
    assert block.stat().st_nlink == 1
    assert sorted(each.name for each in store.iterdir()) == ["jetstream"]


def test_a_kill_while_links_are_made_harms_nothing(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def then(copy: Path) -> None:
        recovered(copy)
        assert content(copy) == FILES
        delete(copy, "MAIL")
        recovered(copy)
        assert content(copy) == FILES

    assert every_step(store, monkeypatch, aside.keep, then) > len(FILES)
    # The second time there are links of an earlier start.
    aside.keep(store)
    assert every_step(store, monkeypatch, aside.keep, then) > len(FILES)


def test_a_kill_while_links_are_removed_harms_nothing(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aside.keep(store)

    def then(copy: Path) -> None:
        recovered(copy)
        assert content(copy) == FILES

    assert every_step(store, monkeypatch, aside.let_go, then) > len(FILES)


def test_a_kill_while_streams_are_put_back_loses_nothing(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aside.keep(store)
    for name in ("MAIL", "CONTENT"):
        delete(store, name)

    def then(copy: Path) -> None:
        recovered(copy)
        assert content(copy) == FILES

    assert every_step(store, monkeypatch, recovered, then) > len(FILES)


def test_a_stream_that_is_put_back_in_place_of_another_keeps_both(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aside.keep(store)
    live = aside.streams(store) / "MAIL"
    shutil.rmtree(live / "msgs")

    def work(copy: Path) -> None:
        aside.put_back(copy, ["MAIL"])

    def then(copy: Path) -> None:
        aside.put_back(copy, ["MAIL", *aside.gone(copy)])
        assert content(copy) == FILES

    every_step(store, monkeypatch, work, then)
    aside.put_back(store, ["MAIL"])
    assert (store / "aside.rejected/MAIL/meta.inf").exists()


def test_a_deletion_that_had_begun_is_undone(store: Path) -> None:
    aside.keep(store)
    (aside.streams(store) / "MAIL/meta.inf").unlink()
    assert aside.gone(store) == ["MAIL"]
    aside.put_back(store, aside.gone(store))
    assert content(store) == FILES


def test_a_forgotten_stream_stays_away(store: Path) -> None:
    aside.keep(store)
    delete(store, "MAIL")
    aside.forget(store, ["MAIL"])
    assert aside.gone(store) == []


def test_where_links_cannot_be_made_nothing_changes(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    with monkeypatch.context() as patched:
        patched.setattr(os, "link", refuse)
        with pytest.raises(OSError, match="cross-device"):
            aside.keep(store)
    assert content(store) == FILES
    assert sorted(each.name for each in store.iterdir()) == ["jetstream"]


def test_a_store_that_is_not_there_yet_has_nothing_to_keep(tmp_path: Path) -> None:
    aside.keep(tmp_path / "store")
    assert aside.gone(tmp_path / "store") == []
    aside.let_go(tmp_path / "store")
