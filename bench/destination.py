"""A destination that looks at each message: it is signed, or came over TLS, or from who has authenticated."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Self

from bench.load import PATIENCE_S
from bench.side import Way
from tests.fixtures.certificates import Certificates
from tests.fixtures.message import Message
from tests.fixtures.mx import Mx
from tests.fixtures.mx_script import Script

NAME = "sink.test"
USER, PASSWORD = "bench", "correct horse"

_CHECKS: dict[Way, Callable[[Message], bool]] = {
    Way.PLAIN: lambda _: True,
    Way.DKIM: lambda message: b"\r\nDKIM-Signature:" in b"\r\n" + message.content,
    Way.TLS: lambda message: bool(message.tls),
    Way.AUTH: lambda message: bool(message.tls) and message.identity == USER,
}


class _Counting(Mx):
    """It tells of each message, and keeps none."""

    def __init__(self, script: Script, told: Callable[[Message], None]) -> None:
        super().__init__(NAME, script=script)
        self._told = told

    def keep(self, message: Message) -> None:
        self._told(message)


class Checking:
    """It takes everything, while the block runs.

    It runs in the process of the benchmark, which has nothing else to do meanwhile.
    """

    def __init__(self, way: Way, folder: Path) -> None:
        """`folder` is for its certificate, whose CA is `ca_file`."""
        certificates = Certificates(folder, NAME, "127.0.0.1")
        tls = certificates.server() if way in (Way.TLS, Way.AUTH) else None
        users = {USER: PASSWORD} if way is Way.AUTH else {}
        self.way = way
        self.ca_file = certificates.ca_file
        self.received = 0
        """Messages whose final dot was answered with 250."""
        self.wrong = 0
        """Those of them that did not come this way."""
        self._is_right = _CHECKS[way]
        self._wanted, self._there = 0, asyncio.Event()
        self._mx = _Counting(Script(tls=tls, users=users), self._count)
        self.host = self._mx.address
        self.port = 0

    def _count(self, message: Message) -> None:
        self.received += 1
        self.wrong += not self._is_right(message)
        if self.received >= self._wanted:
            self._there.set()

    async def wait_for(self, count: int) -> None:
        """Return as soon as `count` messages have arrived. TimeoutError: they do not come."""
        self._wanted = count
        self._there.clear()
        if self.received < count:
            async with asyncio.timeout(PATIENCE_S):
                await self._there.wait()

    async def __aenter__(self) -> Self:
        self.port = (await self._mx.start()).port
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._mx.stop()
