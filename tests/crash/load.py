"""Load whose every message is accounted for: what got a 250 arrives, or is bounced, exactly once."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self

from tests.fixtures.client import RawClient
from tests.fixtures.eventually import eventually
from tests.fixtures.mx import Mx
from tests.fixtures.mx_script import greylist
from tests.fixtures.system import System

DEST, HOME = "crash-dest.test", "crash-home.test"
SESSIONS = 10
_PACE_S = 0.03
"""Between two messages of a session: the load goes on for as long as the kills do, at some hundreds a second."""
WINDOW_S = 3.0
"""The first copy of a duplicate lies at most this far from an outage (from the kill until all is ready again): the
host's 250 was on its way to the queue as a durable acknowledgement. Generous, since the machine is overloaded then."""


@dataclass
class Ledger:
    """What was sent, what was answered, what arrived."""

    accepted: list[int] = field(default_factory=list)
    in_doubt: list[int] = field(default_factory=list)
    """No 250 came: the client keeps the message; whether the queue has it nobody knows."""
    outages: list[tuple[float, float]] = field(default_factory=list)
    """From when until when something was away, on the loop's clock, as the MXs' time stamps are."""


@dataclass
class Account:
    """The sum of a run."""

    accepted: int
    lost: list[str]
    duplicates: dict[str, float]
    """Address → seconds between its first copy and the nearest outage; 0 when it came during one."""
    outside: dict[str, float]
    """The duplicates whose first copy is not within the window around an outage."""

    def __str__(self) -> str:
        late = f", at most {max(self.duplicates.values()):.2f} s from an outage" if self.duplicates else ""
        return f"{self.accepted} accepted, {len(self.lost)} lost, {len(self.duplicates)} duplicates{late}"


class Load:
    """Sessions that send as long as the block runs; every tenth message has no mailbox, every tenth is greylisted."""

    def __init__(self, systems_relay_ports: Sequence[int], dest: Mx, home: Mx) -> None:
        self.ledger = Ledger()
        self._ports = itertools.cycle(systems_relay_ports)
        self._dest = dest
        self._home = home
        self._numbers = itertools.count()
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._session()) for _ in range(SESSIONS)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping.set()
        await asyncio.gather(*self._tasks)

    async def progress(self, messages: int, within_s: float = 60) -> None:
        """Wait until that many more messages are accepted."""
        enough = len(self.ledger.accepted) + messages
        await eventually(lambda: len(self.ledger.accepted) >= enough, f"{messages} more accepted", within_s=within_s)

    @asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        """Note that something is away while the block runs."""
        clock = asyncio.get_running_loop().time
        begun = clock()
        try:
            yield
        finally:
            self.ledger.outages.append((begun, clock()))

    def recipient(self, number: int) -> str:
        """Whom a message is for."""
        kind = {0: "nobody", 1: "grey"}.get(number % 10, "ann")
        return f"{kind}{number}@{DEST}"

    async def _session(self) -> None:
        client: RawClient | None = None
        while not self._stopping.is_set():
            number = next(self._numbers)
            try:
                client = client or await self._connect()
                accepted = await self._send(client, number)
            except (OSError, EOFError, TimeoutError, AssertionError, ValueError):
                accepted = False
            if accepted:
                self.ledger.accepted.append(number)
            else:
                self.ledger.in_doubt.append(number)
                if client is not None:
                    await client.aclose()
                client = None
            await asyncio.sleep(_PACE_S)  # a pace, not a wait
        if client is not None:
            await client.aclose()

    async def _connect(self) -> RawClient:
        client = await RawClient.connect("127.0.0.1", next(self._ports))
        assert (await client.reply()).code == 220
        assert (await client.say("EHLO client.test")).is_positive
        return client

    async def _send(self, client: RawClient, number: int) -> bool:
        recipient = self.recipient(number)
        if recipient.startswith("nobody"):
            self._dest.script.replies[f"nobody{number}"] = "550 5.1.1 no such user"
        elif recipient.startswith("grey"):
            self._dest.script.replies[f"grey{number}"] = greylist()
        content = f"Subject: message {number}\r\n\r\n{'x' * 900}\r\n".encode()
        reply = await client.transact(f"sender{number}@{HOME}", [recipient], content)
        return reply.code == 250

    async def settled(self, system: System, within_s: float = 180) -> Account:
        """Wait until the queue is empty, then count. AssertionError with the count so far when it does not empty."""
        try:
            await system.empty(within_s=within_s)
        except AssertionError as error:
            raise AssertionError(f"still queued: {await system.depth()}; {self._account()}") from error
        return self._account()

    def _account(self) -> Account:
        arrivals: dict[str, list[float]] = {}
        for message in itertools.chain(self._dest.messages, self._home.messages):
            for address in message.recipients:
                arrivals.setdefault(address, []).append(message.at)
        expected = Counter(self._expected(number) for number in self.ledger.accepted)
        duplicates = {address: self._from_outage(min(at)) for address, at in arrivals.items() if len(at) > 1}
        return Account(
            accepted=len(self.ledger.accepted),
            lost=[address for address in expected if address not in arrivals],
            duplicates=duplicates,
            outside={address: gap for address, gap in duplicates.items() if gap > WINDOW_S},
        )

    def _expected(self, number: int) -> str:
        """Where something must arrive: at the recipient, or as a report at the sender."""
        recipient = self.recipient(number)
        return f"sender{number}@{HOME}" if recipient.startswith("nobody") else recipient

    def _from_outage(self, at: float) -> float:
        return min((max(begun - at, at - ended, 0) for begun, ended in self.ledger.outages), default=float("inf"))
