"""What a host said before it closed is the answer, however much of the message was still to come."""

import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable

import pytest

from delivery.attempt.attempt import Attempt, attempt
from delivery.attempt.config import AttemptSettings
from delivery.connect.pool import Pool
from delivery.connect.timeouts import Timeouts
from delivery.route.mx import MxHost, Route
from jetpost.mail.content import Content, Inline, Reference
from jetpost.mail.outcome import Bounced, Deferred, Delivered
from tests.fixtures.addresses import loopback_address
from tests.fixtures.attempts import BOB, entry, on_uvloop, tried
from tests.fixtures.certificates import Certificates
from tests.fixtures.configuration import Surroundings
from tests.fixtures.letters import LETTER
from tests.fixtures.raw_host import Act, RawHost, answering, falling_silent, leaving, saying
from tests.fixtures.system import System
from tests.fixtures.zone import ServedZone

LARGE = Reference("c1", 20 * 1024 * 1024)
SMALL_ENOUGH = Inline(LETTER + (b"x" * 78 + b"\r\n") * 3000)
MORE_THAN_A_KERNEL_BUFFERS = Inline(LETTER + (b"x" * 78 + b"\r\n") * 200_000)
SETTINGS = AttemptSettings(timeouts=Timeouts(block_s=20))
REFUSED = b"552 5.3.4 too big\r\n"
SOON = 200_000
IN_THE_CONTENT: list[tuple[str, Act, type, int]] = [
    ("552, then closed", leaving(REFUSED, after=SOON), Bounced, 552),
    ("552, then reset", leaving(REFUSED, after=SOON, reset=True), Bounced, 552),
    ("552 at once, then reset", leaving(REFUSED, reset=True), Bounced, 552),
    ("552 late, then reset", leaving(REFUSED, after=9_000_000, reset=True), Bounced, 552),
    ("552 of several lines", leaving(b"552-too big\r\n552 much too big\r\n", after=SOON), Bounced, 552),
    ("552 without its end", leaving(b"552 5.3.4 too big", after=SOON, reset=True), Bounced, 552),
    ("552 behind junk", leaving(b"\r\noh\r\n552 too big\r\n", after=SOON), Bounced, 552),
    ("552, then nothing is read", falling_silent(REFUSED, after=SOON), Bounced, 552),
    ("552, then read on", answering(REFUSED, after=SOON), Bounced, 552),
    ("552 of 70 kB", leaving(b"552 " + b"x" * 70_000 + b"\r\n", after=SOON, reset=True), Bounced, 552),
    ("451, then closed", leaving(b"451 4.3.1 disk full\r\n", after=SOON), Deferred, 451),
    ("451, then reset", leaving(b"451 4.3.1 disk full\r\n", after=SOON, reset=True), Deferred, 451),
]


def code(outcome: object) -> int:
    """What the host is said to have said."""
    assert isinstance(outcome, Bounced | Deferred)
    return outcome.reply.code if outcome.reply else 0


WAYS = {"in clear": (False, ("PIPELINING",)), "inside TLS": (True, ("PIPELINING",)), "a chunk": (False, ("CHUNKING",))}


@pytest.mark.parametrize(("inside", "extensions"), WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize(
    ("act", "kind", "said"), [case[1:] for case in IN_THE_CONTENT], ids=[case[0] for case in IN_THE_CONTENT]
)
def test_a_refusal_in_the_middle_of_the_content_is_the_answer(
    certificates: Certificates, act: Act, kind: type, said: int, extensions: tuple[str, ...], *, inside: bool
) -> None:
    async def run() -> None:
        tls = certificates.server() if inside else None
        moment = "TLS CONTENT" if inside else "CONTENT"
        async with (
            RawHost("mx1.test", does={moment: act}, tls=tls, extensions=extensions, reads_ahead=64 * 1024) as host,
            RawHost("mx2.test") as other,
        ):
            made = await tried([host, other], entry(LARGE), SETTINGS)
        assert isinstance(made.outcomes[BOB], kind)
        assert code(made.outcomes[BOB]) == said
        assert (host.connections, other.connections) == (1, 0)

    on_uvloop(run())


@pytest.mark.parametrize(
    "data", [b"250 taken\r\n", b"354 go on\r\n", b"421 4.3.2 shutting down\r\n", b"", b"nonsense\r\n"]
)
def test_who_says_yes_before_the_end_or_leaves_has_no_message(data: bytes) -> None:
    async def run() -> tuple[Attempt, int, int]:
        async with (
            RawHost("mx1.test", does={"CONTENT": leaving(data, after=10_000)}, reads_ahead=16 * 1024) as host,
            RawHost("mx2.test") as other,
        ):
            return await tried([host, other], entry(LARGE), SETTINGS), len(host.copies), len(other.copies)

    made, first, second = on_uvloop(run())
    assert isinstance(made.outcomes[BOB], Delivered)
    assert (first, second) == (0, 1)


@pytest.mark.parametrize("data", [b"250 taken\r\n", b"354 go on\r\n", b"421 4.3.2 shutting down\r\n", b""])
@pytest.mark.parametrize("act", [leaving, falling_silent])
def test_a_yes_to_content_that_is_still_in_our_buffers_is_none(data: bytes, act: Callable[..., Act]) -> None:
    async def run() -> Attempt:
        async with RawHost("mx1.test", does={"CONTENT": act(data, after=10_000)}, reads_ahead=4 * 1024) as host:
            timeouts = Timeouts(block_s=1, slowest_bytes_per_s=1e9)
            return await tried([host], entry(MORE_THAN_A_KERNEL_BUFFERS), AttemptSettings(timeouts=timeouts))

    assert isinstance(on_uvloop(run()).outcomes[BOB], Deferred)


def test_an_early_yes_is_none_while_the_host_reads_on() -> None:
    async def run() -> None:
        async with RawHost("mx1.test", does={"CONTENT": answering(b"250 taken\r\n", after=SOON)}) as host:
            made = await tried([host], entry(LARGE), SETTINGS)
        assert isinstance(made.outcomes[BOB], Deferred)

    on_uvloop(run())


def test_junk_in_the_middle_of_the_content_is_skipped() -> None:
    async def run() -> None:
        async with RawHost("mx1.test", does={"CONTENT": saying(b"\r\n", b"hello\r\n")}) as host:
            made = await tried([host], entry(LARGE), SETTINGS)
        assert isinstance(made.outcomes[BOB], Delivered)
        assert len(host.copies) == 1

    on_uvloop(run())


@pytest.mark.parametrize("content", [LARGE, SMALL_ENOUGH, Inline(LETTER)], ids=["by reference", "inline", "small"])
@pytest.mark.parametrize("extensions", [("PIPELINING",), ()], ids=["in a group", "one by one"])
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize(
    ("moment", "kind"),
    [
        ("CONNECT", Deferred),
        ("EHLO", Deferred),
        ("MAIL", Bounced),
        ("RCPT", Bounced),
        ("DATA", Bounced),
        ("DOT", Bounced),
    ],
)
def test_a_refusal_right_before_the_end_is_the_answer_everywhere(
    content: Content, moment: str, kind: type, extensions: tuple[str, ...], *, reset: bool
) -> None:
    async def run() -> None:
        act = leaving(b"554 5.7.1 go away\r\n", reset=reset)
        async with RawHost("mx1.test", does={moment: act}, extensions=extensions) as host:
            made = await tried([host], entry(content), SETTINGS)
        assert isinstance(made.outcomes[BOB], kind)
        assert code(made.outcomes[BOB]) == 554

    on_uvloop(run())


class Refuser(threading.Thread):
    """A host that refuses and resets while the other side's event loop stands still: a write is the first to notice."""

    def __init__(self, says: bytes) -> None:
        super().__init__(daemon=True)
        self._says = says
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.begin = threading.Event()
        self.over = threading.Event()

    def run(self) -> None:
        sock, _ = self._listening.accept()
        self._listening.close()
        with sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for reply in (b"220 hi\r\n", b"250 hi\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
                sock.sendall(reply)
                if not reply.startswith(b"354"):
                    sock.recv(1000)
            self.begin.wait(30)
            sock.sendall(self._says)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.over.set()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Content that makes the host refuse, without giving the event loop a chance to hear it."""
        yield b"x" * 1000 + b"\r\n"
        self.begin.set()
        assert self.over.wait(30)
        for _ in range(100):
            yield b"x" * 100_000 + b"\r\n"


def test_a_write_that_fails_first_does_not_hide_the_refusal() -> None:
    async def run() -> Attempt:
        host = Refuser(REFUSED)
        host.start()
        pool = Pool(AttemptSettings(), "jetpost.test", most=10)
        try:
            route = Route((MxHost("mx1.test", ("127.0.0.1",), host.port),))
            return await attempt(entry(LARGE), route, host.chunks, pool, AttemptSettings())
        finally:
            await pool.aclose()

    outcome = on_uvloop(run()).outcomes[BOB]
    assert isinstance(outcome, Bounced)
    assert code(outcome) == 552


async def test_content_that_a_host_refuses_on_the_way_is_begun_once(
    system: System, names: ServedZone, surroundings: Surroundings
) -> None:
    content = LETTER + (b"x" * 998 + b"\r\n") * 20_000
    act = leaving(REFUSED, after=1_000_000, reset=True)
    async with RawHost(
        "mx.narrow-inside.test", loopback_address(), surroundings.mx_port, does={"CONTENT": act}, reads_ahead=64 * 1024
    ) as host:
        names.add(host.name, a=[host.address])
        names.add("narrow-inside.test", mx=[(10, host.name)])

        await system.submit("ann@home.test", ["bob@narrow-inside.test"], content)

        await system.empty()
        assert host.heard["DATA"] == 1
    (service,) = system.delivery
    told = [line for line in service.log_lines() if line.get("recipient") == "bob@narrow-inside.test"]
    assert [(line["event"], line["attempt"]) for line in told] == [("bounced", 1)]
    assert "552" in told[0]["why"]
