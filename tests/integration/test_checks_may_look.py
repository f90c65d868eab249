"""Checks that look for facts elsewhere, at every stage of a session: commands sent ahead are answered in order."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ingress.accept import Acceptance
from ingress.listen.connections import Connections
from ingress.listen.listener import ListenerSettings
from ingress.policy.limits import Limits
from ingress.policy.verdict import Refuse, Verdict
from ingress.session.command import LocalHost
from ingress.smtp.context import SessionContext
from ingress.smtp.protocol import SmtpProtocol
from ingress.stages import STAGES, Checks, Looking, Stages
from jetpost.events.publish import Events, EventsSettings
from jetpost.mail.reply import EnhancedStatus, Reply
from jetpost.queue.queue import Queue
from tests.fixtures.nats import NatsServer
from tests.fixtures.queue import opened

LISTENER = ListenerSettings(name="relay", port=0, domains=("dest.test",))
AHEAD = b"EHLO client.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@dest.test>\r\nRCPT TO:<c@else.test>\r\nDATA\r\n"
MESSAGE = b"Subject: x\r\n\r\nx\r\n.\r\nQUIT\r\n"
LISTED = Refuse(Reply(554, EnhancedStatus(5, 7, 1), ("Listed",)), "listed")


async def find(asked: Any) -> str:
    await asyncio.sleep(0)
    return type(asked).__name__


async def fail(_: Any) -> str:
    await asyncio.sleep(0)
    raise RuntimeError("a bug in a check")


def agree(_: Any, found: str) -> Verdict:
    assert found in {"PolicyRequest", "ContentRequest"}
    return None


def object_to(_: Any, found: str) -> Verdict:
    assert found
    return LISTED


def also(checks: Checks[Any], look: Callable[..., Any], judge: Callable[..., Verdict]) -> Checks[Any]:
    """The checks of a stage, and one that looks."""
    return Checks(Looking(look, judge), *checks.checks)


@pytest.fixture
async def queue(tmp_path: Path) -> AsyncIterator[Queue]:
    async with NatsServer(tmp_path) as server, opened(server) as queue:
        yield queue


@asynccontextmanager
async def ingress_with(stages: Stages, queue: Queue) -> AsyncIterator[int]:
    """The port of an ingress with these checks."""
    limits = Limits()
    acceptance = Acceptance(
        queue,
        Events(queue._jetstream, EventsSettings(), "ingress"),
        "mx.test",
        limits,
        stages,
        now=lambda: datetime.now(UTC),
        monotonic=time.monotonic,
        entropy=lambda: random.getrandbits(42),
    )
    context = SessionContext(LISTENER, LocalHost("mx.test", ""), limits, stages, acceptance, [], {})
    protocol = partial(SmtpProtocol, context, Connections(limits), None, None)
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def said(port: int, data: bytes) -> list[str]:
    """The codes of all replies to what is sent at once."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    replies = (await reader.read()).decode().split("\r\n")
    writer.close()
    return [reply[:9].rstrip() for reply in replies if reply[3:4] == " "]


async def test_every_stage_may_look(queue: Queue) -> None:
    stages = Stages(*(also(checks, find, agree) for checks in STAGES))
    expected = ["220 mx.te", "250 ENHAN", "250 2.1.0", "250 2.1.5", "550 5.7.1", "354 End d", "250 2.0.0", "221 2.0.0"]

    async with ingress_with(stages, queue) as port, ingress_with(STAGES, queue) as plain:
        assert await said(plain, AHEAD + MESSAGE) == expected
        assert await said(port, AHEAD + MESSAGE) == expected


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        ("connect", ["554 5.7.1"]),
        ("helo", ["220 mx.te", "554 5.7.1", "503 5.5.1", "221 2.0.0"]),
        ("mail", ["220 mx.te", "250 ENHAN", "554 5.7.1", "503 5.5.1", "221 2.0.0"]),
        ("rcpt", ["220 mx.te", "250 ENHAN", "250 2.1.0", "554 5.7.1", "221 2.0.0"]),
    ],
)
async def test_what_is_found_refuses(queue: Queue, stage: str, expected: list[str]) -> None:
    stages = STAGES._replace(**{stage: also(getattr(STAGES, stage), find, object_to)})
    commands = [*AHEAD.split(b"\r\n")[: len(expected) - 2], b"QUIT\r\n"]

    async with ingress_with(stages, queue) as port:
        assert await said(port, b"" if stage == "connect" else b"\r\n".join(commands)) == expected


@pytest.mark.parametrize("look", [find, fail])
async def test_a_content_that_is_refused_leaves_nothing(queue: Queue, look: Callable[..., Any]) -> None:
    stages = STAGES._replace(content=also(STAGES.content, look, object_to))

    async with ingress_with(stages, queue) as port:
        replies = await said(port, AHEAD + MESSAGE)

    about = await queue._jetstream.api("STREAM.INFO.MAIL", {"subjects_filter": "mail.ready.>"})
    assert replies[6:] == (["554 5.7.1", "221 2.0.0"] if look is find else ["451 4.3.0", "421 4.3.2"])
    assert not about["state"].get("subjects")


async def hang(_: Any) -> str:
    await asyncio.Event().wait()
    raise AssertionError


@pytest.mark.parametrize("look", [fail, hang])
async def test_a_look_that_fails_or_hangs_is_our_fault(
    queue: Queue, look: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingress.stages.LONGEST_LOOK_S", 0.2)
    stages = STAGES._replace(mail=also(STAGES.mail, look, agree))

    async with ingress_with(stages, queue) as port:
        assert await said(port, AHEAD) == ["220 mx.te", "250 ENHAN", "451 4.3.0", "421 4.3.2"]
