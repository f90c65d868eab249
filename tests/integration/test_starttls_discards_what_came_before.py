"""RFC 3207, 4.2: after the handshake nothing counts that was said, or sent ahead, in clear."""

from tests.fixtures.client import dialled
from tests.fixtures.system import System


async def test_commands_sent_along_with_starttls_are_never_answered(system: System) -> None:
    context = system.surroundings.certificates.client()
    async with dialled("127.0.0.1", system.ports.submission) as client:
        await client.say("EHLO client.test")
        assert (await client.starttls(context, ahead=b"NOOP injected\r\n")).code == 220
        assert (await client.say("MAIL FROM:<ann@home.test>")).code == 503  # EHLO is forgotten, the NOOP unheard


async def test_starttls_is_possible_once(system: System) -> None:
    context = system.surroundings.certificates.client()
    async with dialled("127.0.0.1", system.ports.submission) as client:
        await client.say("EHLO client.test")
        await client.starttls(context)
        ehlo = await client.say("EHLO client.test")
        assert "STARTTLS" not in ehlo.text
        assert (await client.say("STARTTLS")).code == 503
