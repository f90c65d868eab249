"""Load whose every message is accounted for, and the processes that die under it."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Self

from jetpost.mail.reply import Reply
from tests.crash.account import MACHINE, STILL_S, Outage, Transaction, balance
from tests.crash.mix import LARGE, Hosts, Letter
from tests.crash.result import Result
from tests.fixtures.client import RawClient
from tests.fixtures.eventually import eventually
from tests.fixtures.nats import NatsServer
from tests.fixtures.process import Delivery, Process, Service
from tests.fixtures.system import System

_SESSIONS = 10
_PACE_S = 0.03
"""Between two messages of a session: the load goes on for as long as the kills do, at some hundreds a second."""
_CALM_S = 240
"""Within this, when everything is up again, servers have caught up, what clients still have is taken, and the queue has
got shorter. Generous: a virtual machine may stand still for a minute, and a nats-server that was cut off may need
several elections and catch-ups."""


class Load:
    """Clients that send as long as the block runs."""

    def __init__(self, system: System, hosts: Hosts) -> None:
        self.transactions: list[Transaction] = []
        self.outages: list[Outage] = []
        self.parked = 0.0
        """Times an entry was parked, as far as the processes lived to tell."""
        self._system = system
        self._hosts = hosts
        self._numbers = itertools.count()
        self._accepted = 0
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._began = self._ended = self._emptied = self._swept = 0.0
        self._longest_pause_s = 0.0

    async def __aenter__(self) -> Self:
        self._began = _clock()
        self._tasks = [asyncio.create_task(self._session()) for _ in range(_SESSIONS)]
        self._watching = asyncio.create_task(self._watch_the_machine())
        return self

    async def __aexit__(self, error: type[BaseException] | None, *_: object) -> None:
        self._stopping.set()
        try:
            async with asyncio.timeout(_CALM_S):
                await asyncio.gather(*self._tasks)
        except BaseException:
            self._watching.cancel()
            raise
        if error is not None:
            self._watching.cancel()
        self._ended = _clock()

    async def progress(self, messages: int, within_s: float = _CALM_S) -> None:
        """Wait until that many more messages are accepted."""
        await self.reach(self._accepted + messages, within_s)

    async def reach(self, messages: int, within_s: float = _CALM_S) -> None:
        """Wait until that many messages are accepted in all."""
        await eventually(lambda: self._accepted >= messages, f"{messages} messages accepted", within_s=within_s)

    @asynccontextmanager
    async def outage(self, *processes: Process, how: str = "killed", alone: bool = True) -> AsyncIterator[None]:
        """Something happens to the processes in the block; note when it began, and when all was ready again.

        Not `alone`: others are away as well, and are not waited for.
        """
        sources = [process.source if isinstance(process, Delivery) else "" for process in processes]
        self.parked += await _parked(processes)
        began = _clock()
        yield
        if alone:
            for server in self._system.servers:
                await server.current(within_s=_CALM_S)
            for service in self._system.services:
                await service.ready()
        for process, source in zip(processes, sources, strict=True):
            self.outages.append(Outage(_kind(process), how, source, began, _clock()))

    async def kill(self, process: Service | NatsServer, *, alone: bool = True) -> None:
        """End a process at once (SIGKILL), and start it again; `alone` as for an outage."""
        async with self.outage(process, alone=alone):
            await process.restart()

    async def settled(self) -> Result:
        """Wait until the queue is empty and swept, then count. AssertionError with the count if it stays full."""
        try:
            await self._system.drained(stuck_s=_CALM_S)
            self._emptied = _clock()
            await self._system.swept(within_s=_CALM_S)
            self._swept = _clock()
        except AssertionError as error:
            raise AssertionError(f"{error}; still queued: {await self._system.depth()}\n{self.result()}") from error
        finally:
            self._watching.cancel()
        self.parked += await _parked(self._system.delivery)
        return self.result()

    def result(self) -> Result:
        """The count so far."""
        accepted = {one.message for one in self.transactions if one.accepted}
        account = balance(self.transactions, self._hosts.copies(), self.outages, self._system.delivered())
        queue_ids = {one.first.attempted[0] for one in account.duplicates if not one.why}
        return Result(
            account,
            tuple(self.outages),
            began=self._began,
            ended=self._ended,
            emptied=self._emptied,
            swept=self._swept,
            longest_pause_s=self._longest_pause_s,
            by_reference=sum(self._hosts.mix.letter(number).size == LARGE for number in accepted),
            parked=int(self.parked),
            evidence=self._system.logged_about(queue_ids),
        )

    async def _watch_the_machine(self) -> None:
        """Note for how long this process had no turn: the others had none then, or hardly any."""
        while True:
            asleep = _clock()
            await asyncio.sleep(_PACE_S)
            pause_s = _clock() - asleep - _PACE_S
            self._longest_pause_s = max(self._longest_pause_s, pause_s)
            if pause_s > STILL_S:
                self.outages.append(Outage(MACHINE, "paused", "", asleep, _clock()))

    async def _session(self) -> None:
        """A client that keeps each message until it has heard a 250, as clients must (RFC 5321, 4.5.4.1)."""
        client: RawClient | None = None
        while not self._stopping.is_set():
            letter = self._hosts.mix.letter(next(self._numbers))
            self._hosts.expect(letter)
            for transaction in itertools.count(1):
                client = await self._hand_in(client, letter, transaction)
                await asyncio.sleep(_PACE_S)  # a pace, not a wait
                if client is not None:
                    break
            self._accepted += 1
        if client is not None:
            await client.aclose()

    async def _hand_in(self, client: RawClient | None, letter: Letter, transaction: int) -> RawClient | None:
        """Send a message; the connection when it was accepted, None when there is no such connection any more."""
        dot, accepted, refused = None, False, False
        try:
            client = client or await self._connected()
            for command in (
                f"MAIL FROM:<{letter.sender}>",
                *(f"RCPT TO:<{name}>" for name in letter.fates),
                "DATA",
            ):
                _temporary_at_worst(reply := await client.say(command))
                if not reply.is_positive:
                    raise ConnectionError(str(reply))
            await client.send(letter.content(transaction))
            dot = _clock()
            await client.send(b".\r\n")
            _temporary_at_worst(reply := await client.reply())
            accepted, refused = reply.code == 250, not reply.is_positive
        except (OSError, EOFError):  # refused, reset, closed, silent
            pass
        if dot is not None:
            self.transactions.append(
                Transaction(letter.number, transaction, letter.fates, dot, _clock(), accepted, refused)
            )
        if accepted or client is None:
            return client
        await client.aclose()
        return None

    async def _connected(self) -> RawClient:
        client = await RawClient.connect("127.0.0.1", self._system.ports.relay)
        for reply in (await client.reply(), await client.say("EHLO client.test")):
            if not reply.is_positive:
                raise ConnectionError(str(reply))
        return client


def _clock() -> float:
    """The clock of the MXs' time stamps."""
    return asyncio.get_running_loop().time()


def _kind(process: Process) -> str:
    return "nats-server" if isinstance(process, NatsServer) else process.name.rpartition("-")[0]


async def _parked(processes: Iterable[Process]) -> float:
    """How often delivery processes have parked an entry."""
    found = [
        await process.metric("jetpost_delivery_parked_total") for process in processes if isinstance(process, Delivery)
    ]
    return sum(found)


def _temporary_at_worst(reply: Reply) -> None:
    """Nothing that these clients send is ever refused for good: that would be a message less, and no crash."""
    assert not reply.is_permanent, reply
