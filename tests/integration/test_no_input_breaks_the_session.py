"""Whatever bytes a client sends, in whatever pieces: it hears SMTP replies, and what is accepted arrives as it was."""

import asyncio
import base64
import re
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.conftest import MakeMx
from tests.fixtures.client import dialled, stuffed
from tests.fixtures.searched import Asking, at_most, searched
from tests.fixtures.system import System
from tests.fixtures.users import PASSWORD, USER

pytestmark = pytest.mark.asyncio(loop_scope="session")

_LEAKS = (b"Traceback", b"Error:", b"Exception", b"asyncio", b"/jetpost/")
_TLS_BEGINS = b"220 2.0.0 Ready to start TLS\r\n"
_TAKE_LEAVE = b"\r\n*\r\n.\r\nQUIT\r\n"
"""Ends a line, an exchange of AUTH, a message and the session, whichever of them has begun."""
_LONGEST_TEXT_LINE = 8000
_RIGHT = b"AUTH PLAIN " + base64.b64encode(f"\0{USER}\0{PASSWORD}".encode())

words = st.sampled_from(
    [
        *(b"EHLO x", b"EHLO x", b"HELO", b"HELO x", b"MAIL FROM:<a@b.test>", b"MAIL FROM:<>", b"RCPT TO:<c@fuzz.test>"),
        *(b"RCPT TO:<", b"DATA", b".", b"RSET", b"NOOP", b"VRFY x", b"BDAT 5", b"BDAT 0 LAST"),
        *(b"AUTH", b"AUTH PLAIN", b"AUTH PLAIN =", b"AUTH PLAIN AGE", b"AUTH LOGIN", b"AUTH X x", b"*", _RIGHT, _RIGHT),
        *(b"MAIL FROM:<a@b.test> SIZE=99999999999999", b"MAIL FROM:<a@b> BODY=NINE", b"RCPT TO:<@a,@b:c@fuzz.test>"),
        *(b"RCPT TO:<c@fuzz.test> NOTIFY=NEVER,SUCCESS", b"RCPT TO:<c@[127.0.0.1]>", b"NOOP " + b"x" * 3000),
        *("MAIL FROM:<ä@b.test> SMTPUTF8".encode(), b"\xff" * 600, b"\0" * 600, b"AUTH PLAIN " + b"A" * 12_300),
    ]
)
ends = st.sampled_from([*[b"\r\n"] * 12, b"\n", b"\r", b"\r\r\n", b"\0\r\n", b""])
lines = st.tuples(words | words | words | st.binary(max_size=60), ends).map(b"".join)
# Nonsense alone seldom gets beyond the first commands.
introduction = st.sampled_from([b"", b"EHLO x\r\n", b"EHLO x\r\n" + _RIGHT + b"\r\n"])
transaction = st.sampled_from([b"", b"MAIL FROM:<a@b.test>\r\n", b"MAIL FROM:<>\r\nRCPT TO:<c@fuzz.test>\r\n"])
data = st.sampled_from([b"", b"DATA\r\n", b"DATA\r\nSubject: x\r\n\r\nx\r\n.\r\n"])
rounds = st.tuples(introduction, transaction, data, st.lists(lines, max_size=6).map(b"".join)).map(b"".join)
sessions = st.lists(rounds, max_size=4).map(b"".join)
with_starttls = st.tuples(sessions, st.just(b"EHLO x\r\nSTARTTLS\r\n") | st.just(b""), sessions).map(b"".join)
cuts = st.lists(st.integers(0, 2000), max_size=6)
text = st.lists(
    st.sampled_from([b".", b"..", b".\r\n", b"\r\n", b"\r\n.", b"a", b"Subject: x\r\n", b"\x80\xff", b" ", b"From "])
    | st.sampled_from([b"x" * (_LONGEST_TEXT_LINE - 2), b"\r\n", b"\r\n"])
    | st.binary(max_size=30).map(lambda data: re.sub(rb"[\r\n\0]", b"", data)),
    max_size=40,
).map(b"".join)
faults = st.sampled_from(
    [b"", b"", b"", b"\r", b"\n", b"\0", b"\n.\n", b"\r.\r", b"\n.\r\n", b"x" * _LONGEST_TEXT_LINE]
)
contents = st.tuples(text, faults, text).map(b"".join)


@pytest.mark.parametrize("over_tls", [False, True])
async def test_any_bytes_get_nothing_but_smtp_replies(system: System, *, over_tls: bool) -> None:
    ask = Asking()

    @at_most(150)
    @given(data=sessions if over_tls else with_starttls)
    def search(data: bytes) -> None:
        said = ask(_said(system, [data], over_tls=over_tls))
        assume(said is not None)
        assert said is not None
        assert said.endswith(b"\r\n")
        in_smtp = said.partition(_TLS_BEGINS)[0]
        assert all(re.match(rb"[2-5]\d\d[ -]", line) for line in in_smtp.split(b"\r\n")[:-1]), said
        assert not any(leak in said for leak in _LEAKS), said

    await searched(search)


async def test_pieces_make_no_difference(system: System) -> None:
    ask = Asking()

    @at_most(60)
    @given(data=sessions, cuts=cuts)
    def search(data: bytes, cuts: Sequence[int]) -> None:
        places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
        pieces = [data[start:end] for start, end in pairwise(places)]
        said = [ask(_said(system, each, over_tls=True)) for each in (pieces, [data])]
        assume(None not in said)
        assert said[0] == said[1]

    await searched(search)


async def test_what_is_accepted_arrives_unaltered_and_unsplit(system: System, mx: MakeMx) -> None:
    dest, ask = await mx("unaltered.test"), Asking()
    accepted: dict[str, bytes] = {}

    async def handed_in(recipient: str, data: bytes) -> int:
        async with system.relaying() as client:
            return (await client.transact("me@home.test", [recipient], stuffed(data))).code

    @at_most(150)
    @given(content=contents)
    def search(content: bytes) -> None:
        data = content if content.endswith(b"\r\n") else content + b"\r\n"
        recipient = f"c{len(accepted)}@unaltered.test"
        code = ask(handed_in(recipient, data))
        assert code == (250 if _is_fit(data) else 550)
        if code == 250:
            accepted[recipient] = data

    await searched(search)
    messages = await dest.received_all(len(accepted))
    assert sorted(message.recipients for message in messages) == sorted((recipient,) for recipient in accepted)
    assert [message for message in messages if not message.content.endswith(accepted[message.recipients[0]])] == []


def _is_fit(data: bytes) -> bool:
    bare = {b"\r", b"\n", b"\0"} & {bytes([byte]) for byte in data.replace(b"\r\n", b"")}
    return not bare and all(len(line) + 2 <= _LONGEST_TEXT_LINE for line in data.split(b"\r\n"))


async def _said(system: System, pieces: Sequence[bytes], *, over_tls: bool) -> bytes | None:
    """What a server says to the pieces, and then to the end of whatever has begun; queue ids left out.

    None: it left before the client had said everything, and its last words may be lost (RFC 9293, 3.10.7.4).
    """
    port = system.ports.submissions if over_tls else system.ports.relay
    async with dialled("127.0.0.1", port, system.surroundings.certificates.client() if over_tls else None) as client:
        try:
            for piece in [*pieces, _TAKE_LEAVE]:
                await client.send(piece)
                await asyncio.sleep(0)
            if not over_tls:
                client.say_no_more()  # or it would wait for a handshake
            said = await client.rest()
        except OSError:
            return None
        return re.sub(rb"queued as \w+", b"queued", said)
