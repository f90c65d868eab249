"""Load whose every message is accounted for: what got a 250 arrives, or is bounced, exactly once."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Sequence
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
WINDOW_S = 5.0
"""At most this long before a kill lies the first copy of a duplicate: the host's 250 was on its way to the queue."""


@dataclass
class Ledger:
    """What was sent, what was answered, what arrived."""

    accepted: list[int] = field(default_factory=list)
    in_doubt: list[int] = field(default_factory=list)
    """No 250 came: the client keeps the message; whether the queue has it nobody knows."""
    kills: list[float] = field(default_factory=list)
    """On the loop's clock, as the MXs' time stamps are."""


@dataclass
class Account:
    """The sum of a run."""

    accepted: int
    lost: list[str]
    duplicates: dict[str, float]
    """Address → seconds from its first copy to the next kill."""
    outside: dict[str, float]
    """The duplicates whose first copy is not within the window before a kill."""

    def __str__(self) -> str:
        late = f", at most {max(self.duplicates.values()):.2f} s before a kill" if self.duplicates else ""
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

    def killed(self) -> None:
        """Note that something was killed just now."""
        self.ledger.kills.append(asyncio.get_running_loop().time())

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
        """Wait until the queue is empty, then count."""
        await system.empty(within_s=within_s)
        return self._account()

    def _account(self) -> Account:
        arrivals: dict[str, list[float]] = {}
        for message in itertools.chain(self._dest.messages, self._home.messages):
            for address in message.recipients:
                arrivals.setdefault(address, []).append(message.at)
        expected = Counter(self._expected(number) for number in self.ledger.accepted)
        duplicates = {address: self._until_kill(min(at)) for address, at in arrivals.items() if len(at) > 1}
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

    def _until_kill(self, at: float) -> float:
        return min((kill - at for kill in self.ledger.kills if kill >= at), default=float("inf"))
