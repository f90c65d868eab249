"""Opportunistic STARTTLS: used when it works, done without when it does not (RFC 3207, RFC 7435)."""

from tests.conftest import MakeMx
from tests.fixtures.certificates import Certificates
from tests.fixtures.letters import LETTER
from tests.fixtures.mx_script import EXTENSIONS
from tests.fixtures.system import System


async def test_mail_to_an_mx_with_starttls_goes_encrypted(
    system: System, mx: MakeMx, certificates: Certificates
) -> None:
    dest = await mx("secure.test", tls=certificates.server())

    await system.submit("ann@home.test", ["bob@secure.test"], LETTER)

    message = await dest.received("bob@secure.test")
    assert message.tls.startswith("TLSv1.3")
    assert dest.heard["EHLO"] == 2  # again after the handshake, as nothing said before it counts


async def test_an_mx_whose_starttls_fails_gets_the_mail_in_clear(system: System, mx: MakeMx) -> None:
    dest = await mx("half-secure.test", extensions=(*EXTENSIONS, "STARTTLS"))

    await system.submit("ann@home.test", ["bob@half-secure.test"], LETTER)

    assert (await dest.received("bob@half-secure.test")).tls == ""


async def test_an_mx_that_refuses_starttls_gets_the_mail_in_clear(
    system: System, mx: MakeMx, certificates: Certificates
) -> None:
    dest = await mx("reluctant.test", tls=certificates.server(), replies={"STARTTLS": "454 4.7.0 not now"})

    await system.submit("ann@home.test", ["bob@reluctant.test"], LETTER)

    assert (await dest.received("bob@reluctant.test")).tls == ""
