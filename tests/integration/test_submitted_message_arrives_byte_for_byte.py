"""A submitted message arrives with every byte as it was, below one Received field."""

from tests.conftest import MakeMx
from tests.fixtures.letters import AWKWARD
from tests.fixtures.system import System


async def test_a_submitted_message_arrives_byte_for_byte_below_one_received_field(system: System, mx: MakeMx) -> None:
    dest = await mx("bytes.test")

    reply = await system.submit("ann@home.test", ["Bob.B@bytes.test"], AWKWARD, " BODY=8BITMIME")

    assert reply.code == 250
    message = await dest.received("Bob.B@bytes.test")
    assert message.below_trace == AWKWARD
    assert message.reverse_path == "ann@home.test"
    assert "BODY=8BITMIME" in message.parameters
    (received,) = message.fields("Received")
    assert "with ESMTPSA" in received
    assert "by jetpost.test" in received
    assert "TLSv1.3" in received


async def test_a_message_without_date_and_message_id_gets_both_at_submission(system: System, mx: MakeMx) -> None:
    dest = await mx("fixed-up.test")

    await system.submit("ann@home.test", ["bob@fixed-up.test"], b"From: ann@home.test\r\n\r\nHello\r\n")

    message = await dest.received("bob@fixed-up.test")
    assert len(message.fields("Date")) == 1
    assert len(message.fields("Message-ID")) == 1
    assert message.content.endswith(b"\r\n\r\nHello\r\n")


async def test_a_relayed_message_gets_neither(system: System, mx: MakeMx) -> None:
    dest = await mx("relayed.test")
    content = b"From: ann@home.test\r\n\r\nHello\r\n"

    async with system.relaying() as client:
        assert (await client.transact("ann@home.test", ["bob@relayed.test"], content)).code == 250

    assert (await dest.received("bob@relayed.test")).below_trace == content


async def test_recipients_of_one_domain_share_a_transaction(system: System, mx: MakeMx) -> None:
    here, there = await mx("here.test"), await mx("there.test")
    to = ["a@here.test", "b@here.test", "c@there.test"]

    await system.submit("ann@home.test", to, AWKWARD, " BODY=8BITMIME")

    assert (await here.received("a@here.test")).recipients == ("a@here.test", "b@here.test")
    assert (await there.received("c@there.test")).recipients == ("c@there.test",)
    await system.empty()
    assert (len(here.messages), len(there.messages)) == (1, 1)
