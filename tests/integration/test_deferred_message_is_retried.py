"""What an MX does not take now is tried again, and arrives once."""

from tests.conftest import MakeMx
from tests.fixtures.letters import LETTER
from tests.fixtures.mx_script import DROP, greylist
from tests.fixtures.system import System
from tests.fixtures.zone import ServedZone


async def test_a_greylisted_message_is_retried_and_delivered(system: System, mx: MakeMx) -> None:
    dest = await mx("grey.test", replies={"bob": greylist(2)})

    await system.submit("ann@home.test", ["bob@grey.test"], LETTER)

    assert (await dest.received("bob@grey.test")).below_trace == LETTER
    await system.empty()
    assert len(dest.messages) == 1
    assert dest.heard["RCPT"] == 3


async def test_only_the_deferred_recipient_is_tried_again(system: System, mx: MakeMx) -> None:
    dest = await mx("half-grey.test", replies={"bob": greylist()})

    await system.submit("ann@home.test", ["ann@half-grey.test", "bob@half-grey.test"], LETTER)

    assert (await dest.received("ann@half-grey.test")).recipients == ("ann@half-grey.test",)
    assert (await dest.received("bob@half-grey.test")).recipients == ("bob@half-grey.test",)
    await system.empty()
    assert len(dest.messages) == 2


async def test_a_connection_that_breaks_in_the_middle_of_the_content_is_tried_again(system: System, mx: MakeMx) -> None:
    dest = await mx("broken.test", replies={"CONTENT": (DROP,)})

    await system.submit("ann@home.test", ["bob@broken.test"], LETTER)

    assert (await dest.received("bob@broken.test")).below_trace == LETTER
    await system.empty()
    assert len(dest.messages) == 1


async def test_a_connection_that_breaks_after_the_final_dot_is_tried_again(system: System, mx: MakeMx) -> None:
    dest = await mx("unanswered.test", replies={"DOT": (DROP,)})

    await system.submit("ann@home.test", ["bob@unanswered.test"], LETTER)

    assert (await dest.received("bob@unanswered.test")).below_trace == LETTER
    await system.empty()


async def test_a_domain_whose_names_cannot_be_looked_up_waits(system: System, mx: MakeMx, names: ServedZone) -> None:
    names.fail("servfail.test")
    await system.submit("ann@home.test", ["bob@servfail.test"], LETTER)
    await system.queued("retry")

    dest = await mx("servfail.test")

    assert (await dest.received("bob@servfail.test")).below_trace == LETTER
