"""RFC 3461, 5.2.1: what a client asks of DSNs goes on to hosts that offer DSN, and to no others."""

import pytest

from tests.conftest import MakeMx
from tests.fixtures.letters import LETTER
from tests.fixtures.mx_script import EXTENSIONS
from tests.fixtures.system import System


@pytest.mark.parametrize("extensions", [(*EXTENSIONS, "DSN"), ("DSN",)], ids=["in a group", "one by one"])
async def test_a_host_that_offers_dsn_hears_what_the_client_asked(
    system: System, mx: MakeMx, extensions: tuple[str, ...]
) -> None:
    domain = f"dsn{len(extensions)}.test"
    dest = await mx(domain, extensions=extensions)

    await _submit_with_wishes(system, f"bob@{domain}")

    message = await dest.received(f"bob@{domain}")
    assert {"RET=HDRS", "ENVID=Xy+2B1"} <= set(message.parameters.split())
    assert message.recipient_parameters == ("NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Bob+2BBox@home.test",)


async def test_a_host_that_does_not_offer_it_hears_nothing_of_it(system: System, mx: MakeMx) -> None:
    dest = await mx("no-dsn.test")

    await _submit_with_wishes(system, "bob@no-dsn.test")

    message = await dest.received("bob@no-dsn.test")
    assert "RET" not in message.parameters
    assert "ENVID" not in message.parameters
    assert message.recipient_parameters == ("",)


async def _submit_with_wishes(system: System, address: str) -> None:
    async with system.submitting() as client:
        for command in (
            "MAIL FROM:<ann@home.test> RET=HDRS ENVID=Xy+2B1",
            f"RCPT TO:<{address}> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Bob+2BBox@home.test",
            "DATA",
        ):
            assert (await client.say(command)).is_positive
        await client.send(LETTER + b".\r\n")
        assert (await client.reply()).code == 250
