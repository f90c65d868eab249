"""SMTPUTF8 (RFC 6531): kept where the next host can, bounced where it cannot and it matters."""

from tests.conftest import MakeMx
from tests.fixtures.letters import LETTER
from tests.fixtures.mx_script import EXTENSIONS
from tests.fixtures.system import System

ASCII_ONLY = tuple(word for word in EXTENSIONS if word != "SMTPUTF8")
BY_REFERENCE = b"x" * 70 + b"\r\n"
"""Often enough, content that is kept beside the queue."""
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
    await mx("ascii-only.test", extensions=ASCII_ONLY)
    home = await mx("home-of-utf8.test")

    await system.submit("ann@home-of-utf8.test", ["jürgen@ascii-only.test"], UTF8_LETTER, " SMTPUTF8 BODY=8BITMIME")

    dsn = (await home.received_all(1))[0]
    assert "5.6.7" in dsn.content.decode()


async def test_a_plain_message_goes_to_a_host_without_smtputf8_though_the_client_gave_the_parameter(
    system: System, mx: MakeMx
) -> None:
    dest = await mx("ascii-will-do.test", extensions=ASCII_ONLY)

    await system.submit("ann@home.test", ["bob@ascii-will-do.test"], LETTER, " SMTPUTF8")

    await dest.received("bob@ascii-will-do.test")


async def test_an_internationalized_header_is_seen_in_large_content_as_well(system: System, mx: MakeMx) -> None:
    dest = await mx("ascii-for-large.test", extensions=ASCII_ONLY)
    home = await mx("home-of-large.test")
    large = UTF8_LETTER + BY_REFERENCE * 5000

    reply = await system.submit("ann@home-of-large.test", ["bob@ascii-for-large.test"], large, " SMTPUTF8")

    assert reply.code == 250
    dsn = await home.received("ann@home-of-large.test")
    assert dsn.delivery_status("bob@ascii-for-large.test")["Status"] == "5.6.7"
    assert dest.heard["MAIL"] == 0


async def test_large_content_with_a_plain_header_goes_to_a_host_without_smtputf8(system: System, mx: MakeMx) -> None:
    dest = await mx("ascii-does-for-large.test", extensions=ASCII_ONLY)
    large = LETTER + "Grüße\r\n".encode() + BY_REFERENCE * 5000

    await system.submit("ann@home.test", ["bob@ascii-does-for-large.test"], large, " SMTPUTF8 BODY=8BITMIME")

    assert (await dest.received("bob@ascii-does-for-large.test")).below_trace == large
