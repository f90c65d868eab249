"""What an MX offers is not always true."""

import pytest

from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.letters import LETTER
from tests.fixtures.mx_script import EXTENSIONS
from tests.fixtures.system import System


async def test_an_mx_without_any_extension_gets_its_mail(system: System, mx: MakeMx) -> None:
    dest = await mx("plain.test", extensions=())

    await system.submit("ann@home.test", ["bob@plain.test"], LETTER)

    assert (await dest.received("bob@plain.test")).below_trace == LETTER


async def test_an_mx_that_knows_helo_only_gets_its_mail(system: System, mx: MakeMx) -> None:
    dest = await mx("old.test", replies={"EHLO": "502 5.5.1 what is that?"})

    await system.submit("ann@home.test", ["bob@old.test"], LETTER)

    assert (await dest.received("bob@old.test")).below_trace == LETTER


async def test_an_mx_that_offers_chunking_falsely_gets_its_mail(system: System, mx: MakeMx) -> None:
    dest = await mx("chunky.test", extensions=(*EXTENSIONS, "CHUNKING"))

    await system.submit("ann@home.test", ["bob@chunky.test"], LETTER)

    assert (await dest.received("bob@chunky.test")).below_trace == LETTER


async def test_an_mx_that_offers_pipelining_falsely_gets_its_mail_on_the_second_try(
    make_system: MakeSystem, mx: MakeMx
) -> None:
    system = await make_system({"delivery.attempt.timeouts.rcpt_s": 1})
    dest = await mx("deaf.test", deaf_to_groups=True)
    await system.submit("ann@home.test", ["bob@deaf.test"], LETTER)
    assert (await dest.received("bob@deaf.test")).below_trace == LETTER


@pytest.mark.parametrize(("limit", "status"), [("SIZE 10", "5.3.4")])
async def test_a_message_beyond_the_announced_size_bounces(system: System, mx: MakeMx, limit: str, status: str) -> None:
    await mx("narrow.test", extensions=(limit,))
    home = await mx("home-of-narrow.test")

    await system.submit("ann@home-of-narrow.test", ["bob@narrow.test"], LETTER)

    dsn = await home.received("ann@home-of-narrow.test")
    assert dsn.delivery_status("bob@narrow.test")["Status"] == status


@pytest.mark.parametrize(
    "moment", ["CONNECT", "EHLO", "MAIL", "RCPT", "DOT"], ids=lambda moment: f"at {moment.lower()}"
)
async def test_only_a_2yz_is_a_yes(system: System, mx: MakeMx, moment: str) -> None:
    dest = await mx(f"half-a-yes-{moment.lower()}.test", replies={moment: ("354 go on",)})
    address = f"bob@{dest.name.partition('.')[2]}"

    await system.submit("ann@home.test", [address], LETTER)

    assert (await dest.received(address)).below_trace == LETTER
    await system.empty()
    assert dest.connections == 2  # who is out of step once is not trusted with the next message
    assert len(dest.messages) == 1
