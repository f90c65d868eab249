"""Whatever octets a client sends: replies are SMTP replies, and a message that is accepted arrives as it was sent."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import MakeMx
from tests.fixtures.client import dialled, stuffed
from tests.fixtures.mx import Mx
from tests.fixtures.system import System

pytestmark = pytest.mark.asyncio(loop_scope="session")

_LEAKS = (b"Traceback", b"Error:", b"Exception", b"asyncio", b"/jetpost/")

words = st.sampled_from(
    [
        *(
            b"EHLO x",
            b"HELO",
            b"MAIL FROM:<a@b.test>",
            b"MAIL FROM:<>",
            b"RCPT TO:<c@fuzz.test>",
            b"RCPT TO:<",
            b"DATA",
        ),
        *(b"RSET", b"NOOP", b"VRFY x", b"AUTH PLAIN AGEAYg==", b"AUTH LOGIN", b"*", b"STARTTLS", b"BDAT 5", b"."),
        *(b"MAIL FROM:<a@b.test> SIZE=99999999999999", b"MAIL FROM:<a@b> BODY=NINE", b"RCPT TO:<@a,@b:c@fuzz.test>"),
        *(b"RCPT TO:<c@fuzz.test> NOTIFY=NEVER,SUCCESS", b"RCPT TO:<c@[127.0.0.1]>"),
        "MAIL FROM:<ä@b.test> SMTPUTF8".encode(),
    ]
)
ends = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\r\r\n", b"\0\r\n", b""])
lines = st.tuples(words | st.binary(max_size=60), ends).map(b"".join)
sessions = st.lists(lines, max_size=25).map(b"".join)
text = st.lists(
    st.sampled_from([b".", b"..", b".\r\n", b"\r\n", b"\r\n.", b"a", b"Subject: x\r\n", b"\x80\xff", b" ", b"From "])
    | st.binary(max_size=30).map(lambda octets: re.sub(rb"[\r\n\0]", b"", octets)),
    max_size=40,
).map(b"".join)


async def test_any_octets_get_nothing_but_smtp_replies(system: System) -> None:
    for octets in examples(sessions, 150):
        async with dialled("127.0.0.1", system.ports.relay) as client:
            await client.send(octets + b"\r\n.\r\nQUIT\r\n")
            said = await client.rest()
        assert said.endswith(b"\r\n")
        assert all(re.match(rb"[2-5]\d\d[ -]", line) for line in said.split(b"\r\n")[:-1]), (octets, said)
        assert not any(leak in said for leak in _LEAKS), (octets, said)


async def test_what_is_accepted_arrives_unaltered_and_unsplit(system: System, mx: MakeMx) -> None:
    dest = await mx("fuzz.test")

    for content in examples(text, 100):
        await _sent_is_received(system, dest, content)


def examples(strategy: st.SearchStrategy[bytes], count: int) -> list[bytes]:
    """What hypothesis thinks of, gathered first: the octets are sent from the loop that the system lives in."""
    found: list[bytes] = []

    @settings(max_examples=count, deadline=None, database=None)
    @given(octets=strategy)
    def collect(octets: bytes) -> None:
        found.append(octets)

    collect()
    return found


async def _sent_is_received(system: System, dest: Mx, content: bytes) -> None:
    before = len(dest.messages)
    octets = content if content.endswith(b"\r\n") else content + b"\r\n"
    async with system.relaying() as client:
        reply = await client.transact("me@home.test", ["c@fuzz.test"], stuffed(octets))
        assert reply.code in {250, 550, 554}, reply
    if reply.code == 250:
        messages = await dest.received_all(before + 1)
        assert len(messages) == before + 1
        assert messages[-1].content.endswith(octets)
