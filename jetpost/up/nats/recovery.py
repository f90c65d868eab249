"""Recovery of the embedded nats-server's store: nothing is lost when the server cannot recover a stream."""

import asyncio
import errno
import fcntl
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from jetpost.jetstream.connection import JetStream, connected
from jetpost.jetstream.settings import Nats
from jetpost.queue.integrity.made import RUNBOOK as MISSING
from jetpost.queue.integrity.made import Made
from jetpost.queue.provision.stream import entries_in, is_shard
from jetpost.reason import reason_of
from jetpost.store.check import RUNBOOK as CLOSED
from jetpost.store.check import faults
from jetpost.store.mend import mend
from jetpost.telemetry.log import logger
from jetpost.up.nats import aside
from jetpost.up.streams import Seen, not_back, settled

_CONNECT_S = 5.0
_PREDECESSOR_S = 30.0
_POLL_S = 0.05
_FULL = {errno.ENOSPC, errno.EDQUOT}

log = logger(__name__)


class Refused(Exception):  # noqa: N818 — a state of the world, named as one
    """The server must not run on this store: why, and what to do."""


class NoRoom(Exception):  # noqa: N818 — as above
    """The server cannot be started safely until there is room on the disk."""


class Recovery:
    """Looks after the store in each life of the server: `before` it starts, `verify` then, and `farewell` at its end.

    `known` is what the last life had, and `remember` keeps it for the next. Streams to `forget` are not put back.
    """

    def __init__(
        self,
        store: Path,
        nats: Nats,
        known: Mapping[str, Seen],
        remember: Callable[[dict[str, Seen]], None],
        forget: Collection[str] = (),
    ) -> None:
        self._store = store
        self._forget = forget
        self._nats = nats
        self._known = known
        self._looked: Mapping[str, Seen] = {}
        self._remember = remember
        self._lost: list[str] = []
        self.lock = os.open(store.parent / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        """Held by this process and by the server, which inherits it: so a server whose parent was killed is known."""
        self.is_verified = False
        """Whether the server that runs has all streams back."""

    async def before(self) -> None:
        """Make a start of the server safe. Refused: it must not start. NoRoom: not now."""
        self.is_verified = False
        await self._alone()
        await asyncio.to_thread(self._prepare)

    async def _alone(self) -> None:
        for _ in range(round(_PREDECESSOR_S / _POLL_S)):
            if _taken(self.lock):
                return
            await asyncio.sleep(_POLL_S)
        raise Refused(f"another nats-server still runs on {self._store}")

    def _prepare(self) -> None:
        try:
            aside.forget(self._store, self._forget)
            if back := aside.put_back(self._store, aside.gone(self._store)):
                log.warning("restored streams that nats-server had removed", streams=back)
            if found := faults(self._store):
                raise Refused(_told("nats-server could not open all of its files", map(str, found), CLOSED))
            if mended := mend(self._store):
                log.warning("wrote checksums that nats-server had not written", streams=mended)
            aside.keep(self._store)
        except OSError as error:
            if error.errno in _FULL:
                raise NoRoom(reason_of(error)) from error
            why = [reason_of(error), "the data folder must be on one file system, and that must have hard links"]
            raise Refused(_told("the files of the queue cannot be linked aside", why, CLOSED)) from error

    async def verify(self) -> None:
        """Once the server has recovered: every stream is back, so the links can go. Unreachable or ApiError: ask again.

        Refused: the server must be stopped, and then `put_back` be called.
        """
        found = await self._found(count=True)
        if reasons := not_back(self._known, found):
            self._lost = list(reasons)
            told = (f"stream {name} {reason}" for name, reason in reasons.items())
            raise Refused(_told("the queue has lost something since nats-server ran last", told, MISSING))
        if self._forget:
            async with self._connected() as jetstream:
                await Made(jetstream).forget(self._forget)
            self._forget = ()
        self._looked = found
        # Who takes mail begins after this: from now on there may be less.
        self._keep({name: Seen(seen.last) for name, seen in found.items()})
        self.is_verified = True
        try:
            await asyncio.to_thread(aside.let_go, self._store)
        except OSError as error:
            log.warning("cannot remove links to stream files", error=reason_of(error))

    async def put_back(self) -> None:
        """After `verify` refused and the server has ended: streams that are not back lie there as before its start."""
        if not self._lost:
            return
        try:
            back = await asyncio.to_thread(aside.put_back, self._store, self._lost)
            log.error("restored streams that nats-server did not recover", streams=back)
        except OSError as error:
            log.error("cannot restore streams, their files are in the folder `aside`", error=reason_of(error))  # noqa: TRY400

    async def note(self) -> None:
        """While the server runs: remember where its streams are. Unreachable or ApiError: not now."""
        found = await self._found(count=False)
        self._keep(settled(self._looked, found))
        self._looked = found

    def close(self) -> None:
        """The server has ended; another process may have the store."""
        os.close(self.lock)

    async def farewell(self) -> None:
        """Before the server is stopped, when nobody uses it any more. Unreachable or ApiError: it does not answer."""
        self._keep(await self._found(count=True))

    def _keep(self, seen: dict[str, Seen]) -> None:
        if seen != self._known:
            self._known = seen
            self._remember(seen)

    async def _found(self, *, count: bool) -> dict[str, Seen]:
        """The streams; with `count` the entries of mail as well. Unreachable or ApiError: no answer."""
        found: dict[str, Seen] = {}
        async with self._connected() as jetstream:
            while True:
                page = await jetstream.api("STREAM.LIST", {"offset": len(found)})
                listed = page["streams"] or []
                found |= {each["config"]["name"]: Seen(int(each["state"]["last_seq"])) for each in listed}
                if not listed or len(found) >= page["total"]:
                    break
            if count:
                for name in filter(is_shard, found):
                    found[name] = Seen(found[name].last, await entries_in(jetstream, name))
        return found

    def _connected(self) -> AbstractAsyncContextManager[JetStream]:
        return connected(self._nats, "jetpost up", patience_s=_CONNECT_S)


def _told(what: str, why: Iterable[str], runbook: str) -> str:
    return "\n  ".join([f"{what}:", *why, f"what to do: {runbook}"])


def _taken(lock: int) -> bool:
    """Whether the lock is ours, now or since before."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
