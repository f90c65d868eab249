"""Content goes out with BDAT where a host offers CHUNKING (RFC 3030), and is never read as commands."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from delivery.attempt.attempt import Attempt, attempt
from delivery.attempt.config import AttemptSettings
from delivery.connect.pool import Pool
from delivery.connect.timeouts import Timeouts
from delivery.route.endpoint import ConnectionTerms, Dialect
from delivery.route.mx import MxHost, Route
from delivery.security.requirement import TlsMode
from jetpost.mail.content import Inline, Reference
from jetpost.mail.envelope import Recipient
from jetpost.mail.outcome import Bounced, Deferred, Delivered
from tests.fixtures.attempts import BOB, Running, entry, tried, tried_with
from tests.fixtures.letters import LETTER
from tests.fixtures.mx import Mx
from tests.fixtures.mx_script import EXTENSIONS, Script
from tests.fixtures.raw_host import Act, Dialogue, RawHost, leaving, saying, silent

CHUNKING = ("PIPELINING", "CHUNKING")
OFFERS = {"in a group": CHUNKING, "one by one": ("CHUNKING",)}
ANN, EVE = Recipient("ann@dest.test"), Recipient("eve@dest.test")
LMTP = ConnectionTerms(tls=TlsMode.NONE, dialect=Dialect.LMTP)
CONTENTS = {
    "a letter": LETTER,
    "nothing": b"",
    "dots that begin lines": b"A: b\r\n\r\n.\r\n..\r\n.x\r\n",
    "an end of data, and commands": b"A: b\r\n\r\n.\r\nMAIL FROM:<eve@x.test>\r\nRCPT TO:<a@x.test>\r\nDATA\r\n",
    "no CRLF at the end": b"A: b\r\n\r\nbody",
    "8 bits": "A: b\r\n\r\nGrüße\r\n".encode() * 10,
    "several pieces": LETTER + (b"." + b"x" * 77 + b"\r\n") * 5000,
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())
@pytest.mark.parametrize("extensions", OFFERS.values(), ids=OFFERS.keys())
async def test_the_octets_arrive_as_they_are(content: bytes, extensions: tuple[str, ...]) -> None:
    async with RawHost("mx1.test", extensions=extensions) as host:
        made = await tried([host], entry(Inline(content)), AttemptSettings(tls=TlsMode.NONE))
    assert isinstance(made.outcomes[BOB], Delivered)
    assert host.copies == [content]
    assert (host.heard["BDAT"], host.heard["DATA"]) == (1, 0)


async def test_content_by_reference_is_one_chunk_too() -> None:
    async with RawHost("mx1.test", extensions=CHUNKING) as host:
        made = await tried([host], entry(Reference("c1", 4 * 1024 * 1024)), AttemptSettings())
    assert isinstance(made.outcomes[BOB], Delivered)
    assert [len(it) for it in host.copies] == [4 * 1024 * 1024]


@pytest.mark.parametrize(
    ("settings", "extensions"),
    [(AttemptSettings(chunking=False), CHUNKING), (AttemptSettings(), ("PIPELINING",))],
    ids=["off", "not offered"],
)
async def test_it_is_data_when_bdat_is_off_or_not_offered(
    settings: AttemptSettings, extensions: tuple[str, ...]
) -> None:
    async with RawHost("mx1.test", extensions=extensions) as host:
        await tried([host], entry(Inline(LETTER)), settings)
    assert (host.heard["BDAT"], host.heard["DATA"], len(host.copies)) == (0, 1, 1)


@pytest.mark.parametrize("extensions", OFFERS.values(), ids=OFFERS.keys())
async def test_no_content_is_sent_before_a_recipient_is_accepted(extensions: tuple[str, ...]) -> None:
    """A host that refuses everybody, and reads what follows BDAT as commands, would do what the content says."""
    script = Script(replies={"eve": "550 5.1.1 nobody here"}, extensions=extensions)
    async with Mx("mx1.test", script=script) as host:
        pool = Pool(AttemptSettings(), "jetpost.test", most=10)
        refused = await tried_with(pool, [host], entry(Inline(LETTER), EVE))
        both = await tried_with(pool, [host], entry(Inline(LETTER), ANN, EVE))
        await pool.aclose()
    assert isinstance(refused.outcomes[EVE], Bounced)
    assert isinstance(both.outcomes[EVE], Bounced)
    assert isinstance(both.outcomes[ANN], Delivered)
    assert (host.heard["BDAT"], host.heard["DATA"], host.heard["RSET"], host.connections) == (1, 0, 1, 1)
    assert [it.content for it in host.messages] == [LETTER]


def after_the_chunk(data: bytes) -> Act:
    """Read the chunk that was announced, whose size is known from the content, and say this."""

    async def act(dialogue: Dialogue) -> None:
        await dialogue.read(len(LETTER))
        await dialogue.say(data)
        await dialogue.reader.read()
        raise ConnectionAbortedError

    return act


UNKNOWN = {
    "500, then closed": leaving(b"500 5.5.2 what?\r\n"),
    "501, then reset": leaving(b"501 5.5.4 what?\r\n", after=100, reset=True),
    "500 for each line": saying(*[b"500 what?\r\n"] * len(LETTER.splitlines())),
    "502 after the content": after_the_chunk(b"502 5.5.1 not implemented\r\n"),
    "503 after the content": after_the_chunk(b"503 5.5.1 DATA, please\r\n"),
    "504 in several lines": leaving(b"504-5.5.4 what?\r\n504 5.5.4 once more?\r\n"),
}


@pytest.mark.parametrize("act", UNKNOWN.values(), ids=UNKNOWN.keys())
async def test_a_host_that_does_not_know_bdat_gets_data_at_once(act: Act) -> None:
    async with RawHost("mx1.test", extensions=CHUNKING, does={"BDAT": act}) as host:
        pool = Pool(AttemptSettings(), "jetpost.test", most=10)
        first = await tried_with(pool, [host], entry(Inline(LETTER)))
        second = await tried_with(pool, [host], entry(Inline(LETTER)))
        await pool.aclose()
    assert isinstance(first.outcomes[BOB], Delivered)
    assert isinstance(second.outcomes[BOB], Delivered)
    assert (host.heard["BDAT"], host.heard["DATA"], host.connections) == (1, 2, 2)


async def test_connections_that_are_kept_use_data_as_well() -> None:
    settings = AttemptSettings()
    async with RawHost("mx1.test", extensions=CHUNKING) as host:
        pool = Pool(settings, "jetpost.test", most=10)
        await asyncio.gather(*(tried_with(pool, [host], entry(Inline(LETTER))) for _ in range(3)))
        host.does["BDAT"] = leaving(b"500 5.5.2 not any more\r\n")
        made = await tried_with(pool, [host], entry(Inline(LETTER)))
        await pool.aclose()
    assert isinstance(made.outcomes[BOB], Delivered)
    assert (host.heard["BDAT"], host.heard["DATA"]) == (4, 1)


@pytest.mark.parametrize("act", [silent, leaving()], ids=["silent", "closed"])
async def test_a_host_that_fails_with_a_chunk_gets_data_in_the_next_attempt(act: Act) -> None:
    settings = AttemptSettings(timeouts=Timeouts.model_construct(final_dot_s=1))
    async with RawHost("mx1.test", extensions=CHUNKING, does={"DOT": act}) as host:
        pool = Pool(settings, "jetpost.test", most=10)
        first = await tried_with(pool, [host], entry(Inline(LETTER)), settings)
        host.does.clear()
        second = await tried_with(pool, [host], entry(Inline(LETTER)), settings)
        await pool.aclose()
    assert isinstance(first.outcomes[BOB], Deferred)  # it may have the message: no second copy at once
    assert isinstance(second.outcomes[BOB], Delivered)
    assert (host.heard["BDAT"], host.heard["DATA"]) == (1, 1)


async def tried_in_pieces(host: Running, message: int, pieces: list[bytes]) -> Attempt:
    """An entry that says it has `message` bytes, and content by reference that has these pieces."""

    async def chunks() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    settings = AttemptSettings()
    pool = Pool(settings, "jetpost.test", most=10)
    route = Route((MxHost(host.name, (host.address,), host.port),), settings.terms)
    try:
        return await attempt(entry(Reference("c1", message)), route, chunks, pool, settings)
    finally:
        await pool.aclose()


@pytest.mark.parametrize("pieces", [[b"x" * 90], [b"x" * 60, b"x" * 50], [], [b"x" * 99]], ids=len)
async def test_content_of_another_size_than_announced_is_no_message(pieces: list[bytes]) -> None:
    async with RawHost("mx1.test", extensions=CHUNKING) as host:
        made = await tried_in_pieces(host, 100, pieces)
    outcome = made.outcomes[BOB]
    assert isinstance(outcome, Deferred)
    assert "bytes of its entry" in outcome.why
    assert host.copies == []
    assert host.heard.keys() <= {"CONNECT", "EHLO", "MAIL", "RCPT", "BDAT", "CONTENT", "QUIT"}


async def test_over_lmtp_each_recipient_has_its_reply() -> None:
    script = Script(lmtp=True, replies={"DOT eve": "552 5.2.2 full"}, extensions=(*EXTENSIONS, "CHUNKING"))
    async with Mx("lmtp.test", script=script) as host:
        pool = Pool(AttemptSettings(), "jetpost.test", most=10)
        made = await tried_with(pool, [host], entry(Inline(LETTER), ANN, EVE), terms=LMTP)
        await pool.aclose()
    assert isinstance(made.outcomes[ANN], Delivered)
    assert isinstance(made.outcomes[EVE], Bounced)
    assert host.heard["BDAT"] == 1
    assert [it.recipients for it in host.messages] == [(ANN.address,)]


async def test_over_lmtp_who_has_the_message_does_not_get_it_again() -> None:
    """One reply that looks as if BDAT were unknown, and one that says the message is there."""
    script = Script(lmtp=True, replies={"DOT eve": "503 5.5.1 not for her"}, extensions=CHUNKING)
    async with Mx("lmtp.test", script=script) as host:
        pool = Pool(AttemptSettings(), "jetpost.test", most=10)
        made = await tried_with(pool, [host], entry(Inline(LETTER), EVE, ANN), terms=LMTP)
        await pool.aclose()
    assert isinstance(made.outcomes[ANN], Delivered)
    assert isinstance(made.outcomes[EVE], Bounced)
    assert len(host.messages) == 1


@pytest.mark.parametrize(
    "more", [b"250 2.0.0 ok\r\n" * 3, b"500 what?\r\n250 2.0.0 ok\r\n", b""], ids=["yes", "no, yes", "-"]
)
async def test_replies_to_lines_of_the_content_are_none_about_recipients(more: bytes) -> None:
    """A mailbox server that does not know BDAT reads the content as commands, and `NOOP` is among them."""
    to = (ANN, BOB, EVE)
    does = {"BDAT": leaving(b"500 5.5.2 what?\r\n" + more, after=10), "DOT": saying(b"250 taken\r\n" * len(to))}
    async with RawHost("lmtp.test", extensions=CHUNKING, does=does) as host:
        pool = Pool(AttemptSettings(), "jetpost.test", most=10)
        made = await tried_with(pool, [host], entry(Inline(LETTER), *to), None, LMTP)
        await pool.aclose()
    assert {type(made.outcomes[it]) for it in to} == {Delivered}
    assert (host.heard["BDAT"], host.heard["DATA"], len(host.copies)) == (1, 1, 1)
