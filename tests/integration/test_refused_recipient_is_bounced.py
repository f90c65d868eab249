"""A refused recipient is reported to the sender, once, and never to a null sender."""

from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.letters import LETTER
from tests.fixtures.system import System
from tests.fixtures.zone import ServedZone

NO_SUCH_USER = {"bob": "550 5.1.1 no such user here"}


async def test_a_refused_recipient_is_bounced_and_the_others_are_delivered(system: System, mx: MakeMx) -> None:
    dest, home = await mx("refusing.test", replies=NO_SUCH_USER), await mx("home-of-refused.test")
    sender = "ann@home-of-refused.test"

    await system.submit(sender, ["carl@refusing.test", "bob@refusing.test"], LETTER)

    assert (await dest.received("carl@refusing.test")).below_trace == LETTER
    dsn = await home.received(sender)
    assert dsn.reverse_path == ""
    assert dsn.fields("Auto-Submitted") == ["auto-replied"]
    assert len(dsn.fields("Message-ID")) == 1
    status = dsn.delivery_status("bob@refusing.test")
    assert status["Action"] == "failed"
    assert status["Status"] == "5.1.1"
    assert status["Diagnostic-Code"] == "smtp; 550 5.1.1 no such user here"
    assert status["Remote-MTA"] == f"dns; {dest.name}"
    assert "bob@refusing.test" in dsn.dsn_text
    assert "carl@refusing.test" not in dsn.dsn_text
    await system.empty()
    assert len(home.messages) == 1


async def test_what_the_sender_said_of_the_message_comes_back_as_it_was_meant(system: System, mx: MakeMx) -> None:
    await mx("quoting.test", replies=NO_SUCH_USER)
    home = await mx("home-of-quoting.test")
    sender = "ann@home-of-quoting.test"

    async with system.relaying() as client:
        await client.say(f"MAIL FROM:<{sender}> ENVID=campaign+3D7+2B1")
        await client.say("RCPT TO:<bob@quoting.test> ORCPT=rfc822;Bob+2Bnews@Quoting.test")
        await client.say("DATA")
        await client.send(LETTER + b".\r\n")
        assert (await client.reply()).code == 250

    dsn = (await home.received(sender)).content
    assert b"\r\nOriginal-Envelope-Id: campaign=7+1\r\n" in dsn
    assert b"\r\nOriginal-Recipient: rfc822;Bob+news@Quoting.test\r\n" in dsn


async def test_there_is_no_bounce_for_a_bounce(system: System, mx: MakeMx) -> None:
    dest = await mx("nobody-home.test", replies=NO_SUCH_USER | {"RCPT": "550 5.1.1 nobody here"})

    async with system.relaying() as client:
        assert (await client.transact("", ["bob@nobody-home.test"], LETTER)).code == 250
        assert (await client.transact("carl@nobody-home.test", ["bob@nobody-home.test"], LETTER)).code == 250

    # The second message's DSN is refused, too, and nothing follows from that.
    await system.empty()
    assert dest.messages == []
    assert dest.heard["RCPT"] == 3


async def test_a_domain_that_takes_no_mail_bounces_at_once(system: System, mx: MakeMx, names: ServedZone) -> None:
    names.add("null.test", mx=[(0, ".")])
    home = await mx("home-of-null.test")

    await system.submit("ann@home-of-null.test", ["bob@null.test"], LETTER)

    status = (await home.received("ann@home-of-null.test")).delivery_status("bob@null.test")
    assert (status["Action"], status["Status"]) == ("failed", "5.1.10")


async def test_a_domain_that_does_not_exist_bounces_at_once(system: System, mx: MakeMx) -> None:
    home = await mx("home-of-missing.test")

    await system.submit("ann@home-of-missing.test", ["bob@missing.test"], LETTER)

    status = (await home.received("ann@home-of-missing.test")).delivery_status("bob@missing.test")
    assert (status["Action"], status["Status"]) == ("failed", "5.1.2")


async def test_a_message_that_nobody_took_in_its_lifetime_bounces(make_system: MakeSystem, mx: MakeMx) -> None:
    system = await make_system({"queue.lifetime_s": 2, "delivery.retry.first_s": 0.2})
    dest, home = await mx("later.test", replies={"RCPT": "451 4.7.1 later"}), await mx("home-of-expired.test")

    await system.submit("ann@home-of-expired.test", ["bob@later.test"], LETTER)

    status = (await home.received("ann@home-of-expired.test")).delivery_status("bob@later.test")
    assert status["Action"] == "failed"
    assert status["Status"].startswith("4.")
    assert "451 4.7.1 later" in status["Diagnostic-Code"]
    await system.empty()
    assert dest.heard["RCPT"] > 1
