"""SMTPUTF8 (RFC 6531): kept where the next host can, bounced where it cannot and it matters."""

from tests.conftest import MakeMx
from tests.fixtures.letters import LETTER
from tests.fixtures.mx_script import EXTENSIONS
from tests.fixtures.system import System

UTF8_LETTER = LETTER.replace(b"Subject: A letter", "Subject: Grüße".encode())


async def test_an_internationalized_address_is_delivered(system: System, mx: MakeMx) -> None:
    dest = await mx("xn--grn-ioa.test")

    reply = await system.submit("änn@home.test", ["jürgen@grün.test"], UTF8_LETTER, " SMTPUTF8 BODY=8BITMIME")

    assert reply.code == 250
    message = (await dest.received_all(1))[0]
    assert message.recipients[0].startswith("jürgen@")
    assert message.reverse_path == "änn@home.test"
    assert "SMTPUTF8" in message.parameters
    assert message.below_trace == UTF8_LETTER
    assert "UTF8SMTPSA" in message.content.partition(b"From:")[0].decode()


async def test_a_host_without_smtputf8_means_a_bounce(system: System, mx: MakeMx) -> None:
    await mx("ascii-only.test", extensions=tuple(word for word in EXTENSIONS if word != "SMTPUTF8"))
    home = await mx("home-of-utf8.test")

    await system.submit("ann@home-of-utf8.test", ["jürgen@ascii-only.test"], UTF8_LETTER, " SMTPUTF8 BODY=8BITMIME")

    report = (await home.received_all(1))[0]
    assert "5.6.7" in report.content.decode()


async def test_a_plain_message_goes_to_a_host_without_smtputf8_though_the_client_gave_the_parameter(
    system: System, mx: MakeMx
) -> None:
    dest = await mx("ascii-will-do.test", extensions=tuple(word for word in EXTENSIONS if word != "SMTPUTF8"))

    await system.submit("ann@home.test", ["bob@ascii-will-do.test"], LETTER, " SMTPUTF8")

    await dest.received("bob@ascii-will-do.test")
