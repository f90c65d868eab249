"""Who is neither authenticated nor of a listed network cannot send mail through us to anybody."""

from tests.conftest import MakeMx
from tests.fixtures.letters import LETTER
from tests.fixtures.system import System


async def test_a_stranger_is_refused(system: System) -> None:
    async with system.relaying(source="127.0.0.77") as client:
        reply = await client.transact("evil@home.test", ["victim@dest.test"], LETTER)
        assert (reply.code, str(reply.status)) == (550, "5.7.1")
        for trick in ("victim%dest.test@jetpost.test", "@jetpost.test:victim@dest.test", "dest.test!victim"):
            assert not (await client.say(f"RCPT TO:<{trick}>")).is_positive


async def test_a_listed_network_may_relay(system: System, mx: MakeMx) -> None:
    dest = await mx("relayed-to.test")

    async with system.relaying() as client:
        assert (await client.transact("ann@home.test", ["bob@relayed-to.test"], LETTER)).code == 250

    await dest.received("bob@relayed-to.test")
