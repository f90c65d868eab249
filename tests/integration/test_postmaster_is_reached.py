"""Mail to the postmaster of this system is taken from anybody, and reaches whoever reads it (RFC 5321, 4.5.1)."""

from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.letters import LETTER
from tests.fixtures.system import System

STRANGER = "127.0.0.77"


async def test_a_stranger_reaches_the_postmaster(system: System, mx: MakeMx) -> None:
    ours = await mx("ours.test")

    for number, to in enumerate(("<Postmaster>", "<postmaster@jetpost.test>")):
        async with system.relaying(source=STRANGER) as client:
            assert (await client.say("MAIL FROM:<ann@home.test>")).code == 250
            assert (await client.say(f"RCPT TO:{to}")).code == 250
            assert (await client.say("DATA")).code == 354
            await client.send(LETTER + b".\r\n")
            assert (await client.reply()).code == 250
        assert (await ours.received_all(number + 1))[-1].recipients == ("admin@ours.test",)


async def test_without_a_postmaster_it_is_refused_and_said_at_start(make_system: MakeSystem) -> None:
    system = await make_system({"ingress.postmaster": ""})

    line = await system.told(system.ingress[0], "configuration")
    assert (line["level"], "ingress.postmaster" in line["remark"]) == ("warning", True)
    async with system.relaying(source=STRANGER) as client:
        assert (await client.say("MAIL FROM:<ann@home.test>")).code == 250
        reply = await client.say("RCPT TO:<postmaster>")
        assert (reply.code, str(reply.status)) == (550, "5.1.1")
