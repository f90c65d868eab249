"""Whether nats-server can open all that is in its store, asked before it starts.

What it cannot open it leaves out: since 2.15.3 it keeps the files and runs without the stream; before, it deleted the
whole stream. Both are seen here from the files alone: kind, owner, access, the streams' configurations and the first
records of the blocks (`jetpost/store/head.py`). What is behind the first record of a block is not read.

The layout is nats-server's own (2.15): `jetstream/<account>/streams/<stream>/` with `meta.inf`, `meta.sum`, `msgs/`
(blocks `<n>.blk` and state files), `obs/<consumer>/` and `batches/`, and much the same of each Raft group in
`jetstream/<account>/_js_/`. What a death at any line leaves of it is no fault: files cut off at their end, streams and
consumers that had been begun, a purge half done, temporary files.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from jetpost.store.files import BLOCK, content, holds_records, inside, size
from jetpost.store.head import HEAD_BYTES, Head, damage, is_whole, seal

RUNBOOK = "docs/runbooks/nats-server-is-down.md"
MOST_FAULTS = 20
"""After so many nobody looks further: they have one cause."""
_FILES = frozenset({"meta.inf", "meta.sum", "meta.key", "index.db", "thw.db", "sched.db", "sources.db", "o.dat"})
_RAFT_FILES = frozenset({"peers.idx", "tav.idx"})
_TAIL_BYTES = 8


class Fault(NamedTuple):
    """Something that nats-server cannot open, or would throw away."""

    path: Path
    why: str
    """What is wrong with it, as the rest of a sentence that begins with the path."""

    def __str__(self) -> str:
        name = str(self.path)
        return f"{name if name.isprintable() else ascii(name)} {self.why}"


def faults(store_dir: Path) -> list[Fault]:
    """What nats-server could not open in its `store_dir`, run by this user, or would throw away; empty: nothing.

    At most `MOST_FAULTS`. A store that is not there yet has none. Nobody may write to it meanwhile.
    """
    look = _Look(store_dir)
    found: list[Fault] = []
    for fault in look.store():
        found.append(fault)
        if len(found) == MOST_FAULTS:
            break
    return found


class _Look:
    """One look at a store."""

    def __init__(self, store_dir: Path) -> None:
        self._store_dir = store_dir
        self._is_root = os.geteuid() == 0
        self._owners = {0}

    def store(self) -> Iterator[Fault]:
        if not os.path.lexists(self._store_dir):
            return
        self._owners.add(_owner(self._store_dir))
        if bad := self._folder(self._store_dir):
            yield from bad
            return
        for account in self._folders(self._store_dir / "jetstream"):
            if isinstance(account, Fault):
                yield account
            elif account.name.startswith("$") or account.is_dir():
                yield from self._account(account)

    def _account(self, account: Path) -> Iterator[Fault]:
        if bad := self._folder(account):
            yield from bad
            return
        for name, look in (("streams", self._stream), ("_js_", self._group)):
            for inner in self._folders(account / name):
                if isinstance(inner, Fault):
                    yield inner
                elif bad := self._folder(inner):
                    yield from bad
                else:
                    yield from look(inner)

    def _stream(self, stream: Path) -> Iterator[Fault]:
        yield from self._files(stream, _FILES)
        yield from self._blocks(stream)
        yield from _configured_badly(stream)
        for consumer in self._folders(stream / "obs"):
            if isinstance(consumer, Fault):
                yield consumer
            elif bad := self._folder(consumer):
                yield from bad
            else:
                yield from self._files(consumer, _FILES)
        batches = stream / "batches"
        # A link is ours (`jetpost/up/nats/staging.py`), and what it points to may be gone.
        if os.path.lexists(batches) and not batches.is_symlink():
            yield from self._folder(batches)

    def _group(self, group: Path) -> Iterator[Fault]:
        yield from self._files(group, _FILES | _RAFT_FILES)
        yield from self._blocks(group)
        for snapshot in self._folders(group / "snapshots"):
            yield from [snapshot] if isinstance(snapshot, Fault) else self._opened(snapshot, folder=False)

    def _blocks(self, stream: Path) -> Iterator[Fault]:
        folder = stream / "msgs"
        if not os.path.lexists(folder):
            return
        if bad := self._folder(folder):
            yield from bad
            return
        yield from self._files(folder, _FILES)
        blocks = {int(found[1]): path for path in inside(folder) if (found := BLOCK.fullmatch(path.name))}
        # Nothing was written after the last that has anything: a newer one may have been begun.
        last = max((number for number, path in blocks.items() if size(path)), default=0)
        for number, path in sorted(blocks.items()):
            if bad := self._opened(path, folder=False):
                yield from bad
            elif not os.path.lexists(folder / f"{number}.key"):
                yield from _begins_badly(stream, path, number, is_last=number == last)

    def _files(self, folder: Path, known: frozenset[str]) -> Iterator[Fault]:
        for path in inside(folder):
            if path.name in known:
                yield from self._opened(path, folder=False)

    def _folders(self, folder: Path) -> Iterator[Path | Fault]:
        """What is in a folder that may be absent, or why it cannot be used. A dot begins what is being deleted."""
        if not os.path.lexists(folder):
            return
        if bad := self._folder(folder):
            yield from bad
            return
        yield from (path for path in inside(folder) if not path.name.startswith("."))

    def _folder(self, path: Path) -> list[Fault]:
        return self._opened(path, folder=True)

    def _opened(self, path: Path, *, folder: bool) -> list[Fault]:
        """The fault when `path` is not of its kind, or this user may not use it as the server does."""
        try:
            status = path.stat()
        except OSError as error:
            return [Fault(path, f"cannot be looked at: {error.strerror}")]
        if not (stat.S_ISDIR if folder else stat.S_ISREG)(status.st_mode):
            return [Fault(path, f"is not a {'folder' if folder else 'file'}")]
        mode = f"owner {status.st_uid}, group {status.st_gid}, mode {stat.S_IMODE(status.st_mode):04o}"
        wanted = os.R_OK | os.W_OK | (os.X_OK if folder else 0)
        if not os.access(path, wanted, effective_ids=os.access in os.supports_effective_ids):
            return [Fault(path, f"is closed to user {os.geteuid()} ({mode})")]
        if self._is_root and status.st_uid not in self._owners:
            return [Fault(path, f"belongs to neither root nor the owner of {self._store_dir} ({mode})")]
        return []


def _begins_badly(stream: Path, path: Path, number: int, *, is_last: bool) -> Iterator[Fault]:
    try:
        with path.open("rb") as file:
            data = file.read(HEAD_BYTES)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            tail = file.read(_TAIL_BYTES)
    except OSError as error:
        yield Fault(path, f"cannot be read: {error.strerror}")
        return
    if why := damage(Head(data, tail, size, stream.name, number, is_last)):
        yield Fault(path, why)


def _configured_badly(stream: Path) -> Iterator[Fault]:
    """A fault when the server would leave the stream out, or start it empty, and `mend` cannot help."""
    configuration = stream / "meta.inf"
    if not os.path.lexists(stream / "msgs") and not os.path.lexists(stream / "__new_msgs__"):
        # A purge moves one away before it moves the other here.
        if size(configuration):
            yield Fault(stream / "msgs", "is missing")
    elif not holds_records(stream):
        return
    elif not os.path.lexists(configuration):
        # A deletion takes this first: killed then, it looks the same. Jetpost deletes no stream.
        yield Fault(configuration, "is missing, and the stream has records")
    elif (data := content(configuration)) is None or is_whole(stream.name, data):
        return
    else:
        checksum = stream / "meta.sum"
        unknown = os.path.lexists(checksum) and content(checksum) is None
        # Encrypted it is no configuration to us, and has its checksum all the same.
        if not unknown and content(checksum) != seal(stream.name, data):
            yield Fault(configuration, "is damaged")


def _owner(path: Path) -> int:
    try:
        return path.stat().st_uid
    except OSError:
        return 0
