"""Whatever is said about a message fits into the queue: a thousand recipients, and all that was said to them."""

from collections.abc import Sequence

import pytest

from jetpost.mail.reply import Reply
from tests.conftest import MakeMx
from tests.fixtures.letters import LETTER
from tests.fixtures.system import System

NAMES = [f"recipient-{number:04}" for number in range(1000)]


def long_reply(first: str, size: int = 60_000) -> str:
    """A reply of many lines, `first` its code and status."""
    code, status = first.split()
    lines = [f"{code}-{status} {'x' * 900}" for _ in range(size // 912)]
    return "\r\n".join([*lines, f"{code} {status} the end"])


async def submit(system: System, to: Sequence[str], sender: str = "ann@home.test") -> Reply:
    """With all that a client may ask of DSNs."""
    async with system.relaying() as client:
        assert (await client.say(f"MAIL FROM:<{sender}> RET=HDRS ENVID={'e' * 90}")).code == 250
        for address in to:
            asked = f"NOTIFY=FAILURE,DELAY ORCPT=rfc822;{'original+2D' * 10}{address}"
            assert (await client.say(f"RCPT TO:<{address}> {asked}")).code == 250
        assert (await client.say("DATA")).code == 354
        await client.send(LETTER + b".\r\n")
        return await client.reply()


async def test_a_thousand_recipients_get_their_mail(system: System, mx: MakeMx) -> None:
    dest = await mx("accepting-many.test")

    assert (await submit(system, [f"{name}@accepting-many.test" for name in NAMES])).code == 250

    await system.empty()
    assert sorted(dest.by_recipient) == [f"{name}@accepting-many.test" for name in NAMES]


@pytest.mark.parametrize("size", [3000, 60_000])
async def test_a_dsn_has_a_thousand_recipients_that_were_refused_at_length(
    system: System, mx: MakeMx, size: int
) -> None:
    domain = f"refusing-{size}.test"
    await mx(domain, replies={"RCPT": long_reply("550 5.1.1", size)})
    home = await mx(f"home-of-{domain}")
    sender = f"ann@home-of-{domain}"

    assert (await submit(system, [f"{name}@{domain}" for name in NAMES], sender)).code == 250

    dsn = await home.received(sender)
    for name in (NAMES[0], NAMES[-1]):
        status = dsn.delivery_status(f"{name}@{domain}")
        assert (status["Action"], status["Status"]) == ("failed", "5.1.1")
        assert len(status["Diagnostic-Code"]) < 1500
    await system.empty()


async def test_of_a_thousand_recipients_half_are_deferred_and_tried_again(system: System, mx: MakeMx) -> None:
    busy = dict.fromkeys(NAMES[::2], (long_reply("451 4.7.1", 5000),))
    dest = await mx("half-busy.test", replies=busy)

    assert (await submit(system, [f"{name}@half-busy.test" for name in NAMES])).code == 250

    await system.empty()
    assert {address: len(messages) for address, messages in dest.by_recipient.items()} == {
        f"{name}@half-busy.test": 1 for name in NAMES
    }


async def test_a_host_that_does_not_end_its_reply_is_broken_and_tried_again(system: System, mx: MakeMx) -> None:
    dest = await mx("endless.test", replies={"RCPT": (long_reply("550 5.1.1", 200_000),)})

    assert (await submit(system, ["bob@endless.test"])).code == 250

    assert (await dest.received("bob@endless.test")).below_trace == LETTER
    deferred = next(line for line in system.delivery[0].log_lines() if line.get("recipient") == "bob@endless.test")
    assert deferred["event"] == "deferred"
    assert "without an end" in deferred["why"]
    await system.empty()
