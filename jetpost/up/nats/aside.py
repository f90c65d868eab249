"""Links to the files of each stream, kept while nats-server recovers the stream from them.

nats-server 2.15.1 and 2.15.2 delete the folder of a stream that they cannot recover. So before each start of the server
every stream's folder is made a second time in `<store>/aside`, with hard links to the same files: no data are copied.
A deletion then takes the names away, and the files stay. What the server writes into a file is in both: it appends to
the last block, and cuts off a block behind a record that is damaged. Everything else it replaces by a new file.

The steps, and what a death of this process behind each of them leaves:

1. `aside.new` is filled: incomplete links, which the next start removes. The server has not been started.
2. `aside` (of an earlier start) is renamed to `aside.old`, and `aside.new` to `aside`: all streams are in their places
   still. The next start removes `.old` and `.new`.
3. The server runs: `aside` is complete. The next start puts back what has left its place by then.
4. `put_back` makes a folder under a name that the server takes for a deletion half done; then it gets its name.
5. `let_go` renames `aside` to `aside.old`, and removes that: the next start removes the rest.
"""

import contextlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

_LINKS = "aside"
_UNDER_WAY = ".jetpost-"
"""A name with a dot in front is a stream half deleted to nats-server, which removes it."""
_SEALS = ("meta.inf", "meta.sum")
"""A deletion begins with the first of them."""


def streams(store: Path) -> Path:
    """Where the server with this `store_dir` has its streams."""
    return store / "jetstream" / "$G" / "streams"


def keep(store: Path) -> None:
    """Link every stream aside, in place of what an earlier start left there. The server must not run.

    OSError when that is not possible: nothing has changed then.
    """
    fresh, old, links = _link_folders(store)
    for stale in (fresh, old):
        _remove(stale)
    if not streams(store).is_dir():
        return
    try:
        fresh.mkdir(mode=0o700)
        for stream in _folders(streams(store)):
            _link(stream, fresh / stream.name)
        _sync(fresh)
    except OSError:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    with contextlib.suppress(FileNotFoundError):
        links.rename(old)
    fresh.rename(links)
    _remove(old)


def let_go(store: Path) -> None:
    """Remove the links: every stream is in its place. OSError: some are left, for the next start."""
    _, old, links = _link_folders(store)
    _remove(old)
    with contextlib.suppress(FileNotFoundError):
        links.rename(old)
    _remove(old)


def gone(store: Path) -> list[str]:
    """The streams that were linked aside and have left their places, or were about to."""
    _, _, links = _link_folders(store)
    return [kept.name for kept in _folders(links) if _has_left(kept, streams(store) / kept.name)]


def put_back(store: Path, names: Iterable[str]) -> list[str]:
    """Put these streams back into their places; those that were linked aside, of which the names are returned.

    The server must not run. What lies in the place now is kept beside the links, as `<stream>.rejected`.
    """
    _, _, links = _link_folders(store)
    done: list[str] = []
    for name in names:
        kept, live = links / name, streams(store) / name
        if not kept.is_dir():
            continue
        under_way = streams(store) / f"{_UNDER_WAY}{name}"
        _remove(under_way)
        under_way.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _link(kept, under_way)
        if os.path.lexists(live):
            rejected = links.with_name(f"{_LINKS}.rejected") / name
            _remove(rejected)
            rejected.parent.mkdir(mode=0o700, exist_ok=True)
            live.rename(rejected)
        under_way.rename(live)
        _sync(live.parent)
        done.append(name)
    return done


def forget(store: Path, names: Iterable[str]) -> None:
    """Let go of these streams: an operator begins without them."""
    _, _, links = _link_folders(store)
    for name in names:
        _remove(links / name)


def _link_folders(store: Path) -> tuple[Path, Path, Path]:
    return store / f"{_LINKS}.new", store / f"{_LINKS}.old", store / _LINKS


def _has_left(kept: Path, live: Path) -> bool:
    return not live.is_dir() or any((kept / seal).exists() and not (live / seal).exists() for seal in _SEALS)


def _folders(links: Path) -> list[Path]:
    """The streams in a folder, in order; not those whose deletion has begun."""
    if not links.is_dir():
        return []
    return sorted(each for each in links.iterdir() if not each.name.startswith(".") and each.is_dir())


def _link(source: Path, target: Path) -> None:
    """Make `target` a second `source`: folders are made, everything else is linked."""
    status = source.stat()
    target.mkdir(mode=0o700)
    with os.scandir(source) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                _link(Path(entry.path), target / entry.name)
            else:
                os.link(entry.path, target / entry.name, follow_symlinks=False)
    if os.geteuid() == 0:
        os.chown(target, status.st_uid, status.st_gid)
    target.chmod(status.st_mode & 0o7777)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()


def _sync(folder: Path) -> None:
    """What was linked and renamed so far is on disk, where file systems keep the order of such changes."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
