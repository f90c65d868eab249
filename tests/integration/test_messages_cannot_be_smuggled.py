"""Only CRLF.CRLF ends a message (RFC 5321, 4.1.1.4): whatever else looks like an end makes no second message."""

import pytest

from tests.conftest import MakeMx
from tests.fixtures.letters import LETTER
from tests.fixtures.system import System

ENDS = [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\r\n\0.\r\n", b"\r\r\n.\r\r\n"]


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.hex())
async def test_a_false_end_of_data_does_not_begin_a_second_message(system: System, mx: MakeMx, end: bytes) -> None:
    domain = f"smuggled-{end.hex()}.test"
    dest = await mx(domain)
    hidden = f"MAIL FROM:<evil@home.test>\r\nRCPT TO:<victim@{domain}>\r\nDATA\r\nfake\r\n".encode()

    async with system.submitting() as client:
        await client.transact("ann@home.test", [f"bob@{domain}"], LETTER.removesuffix(b"\r\n") + end + hidden)
        assert (await client.say("NOOP")).code == 250  # nothing of it was taken for commands

    await system.empty()
    assert dest.to(f"victim@{domain}") == []
    assert len(dest.messages) <= 1
    for message in dest.messages:
        assert b"\n" not in message.content.replace(b"\r\n", b"")
        assert b"\r" not in message.content.replace(b"\r\n", b"")


@pytest.mark.parametrize("end", [b"\n", b"\r"], ids=["LF", "CR"])
async def test_a_command_line_ends_in_crlf_only(system: System, end: bytes) -> None:
    async with system.submitting() as client:
        await client.send(b"NOOP" + end + b"MAIL FROM:<evil@home.test>\r\n")
        assert not (await client.reply()).is_positive
