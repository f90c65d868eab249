"""RFC 6152: content beyond ASCII, and a host that does not say that it takes it."""

import pytest

from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.letters import LETTER
from tests.fixtures.mx_script import EXTENSIONS
from tests.fixtures.system import System

SEVEN_BIT = tuple(word for word in EXTENSIONS if word != "8BITMIME")
EIGHT_BIT_LETTER = LETTER + "Grüße\r\n".encode()
LARGE = LETTER + b"x" * 70 * 5000 + b"\r\n" + "Grüße\r\n".encode()


async def test_content_goes_as_it_is_to_a_host_that_does_not_offer_8bitmime(system: System, mx: MakeMx) -> None:
    dest = await mx("seven.test", extensions=SEVEN_BIT)

    await system.submit("ann@home.test", ["bob@seven.test"], EIGHT_BIT_LETTER, " BODY=8BITMIME")

    message = await dest.received("bob@seven.test")
    assert message.below_trace == EIGHT_BIT_LETTER
    assert "BODY" not in message.parameters


@pytest.mark.parametrize("content", [EIGHT_BIT_LETTER, LARGE.replace(b"x" * 70, b"x" * 70 + b"\r\n")])
async def test_it_bounces_where_the_operator_wants_that(make_system: MakeSystem, mx: MakeMx, content: bytes) -> None:
    system = await make_system({"delivery.attempt.eight_bit": "bounce"})
    dest, home = await mx("strictly-seven.test", extensions=SEVEN_BIT), await mx("home-of-eight.test")

    await system.submit("ann@home-of-eight.test", ["bob@strictly-seven.test"], content, " BODY=8BITMIME")
    await system.submit("ann@home-of-eight.test", ["carl@strictly-seven.test"], LETTER, " BODY=8BITMIME")

    dsn = await home.received("ann@home-of-eight.test")
    assert dsn.delivery_status("bob@strictly-seven.test")["Status"] == "5.6.3"
    assert "plain 7-bit content only" in dsn.dsn_text
    await dest.received("carl@strictly-seven.test")
    assert not dest.to("bob@strictly-seven.test")
