"""A host takes so many recipients in a transaction (RFC 5321, 4.5.3.1.10): the others follow in the next one."""

import pytest

from delivery.attempt.attempt import Attempt
from delivery.attempt.config import AttemptSettings
from delivery.connect.pool import Pool
from jetpost.mail.content import Inline
from jetpost.mail.envelope import Recipient
from jetpost.mail.outcome import Bounced, Deferred, Delivered
from tests.fixtures import attempts
from tests.fixtures.addresses import loopback_address
from tests.fixtures.letters import LETTER
from tests.fixtures.mx import Mx
from tests.fixtures.mx_script import EXTENSIONS, Script

TO = tuple(Recipient(f"u{number}@dest.test") for number in range(4))
BEYOND = (
    "452 too many recipients",
    "452 4.5.3 too many recipients",
    "552 5.5.3 too many recipients",
    "451 4.5.3 Too many recipients",  # OpenSMTPD
    "450 4.5.3 too many",
    "550 5.5.3 too many",
)


async def tried(replies: dict[str, str | tuple[str, ...]], extensions: tuple[str, ...]) -> tuple[Attempt, Mx]:
    """One attempt at a host that says this."""
    settings = AttemptSettings(idle_s=0)
    pool = Pool(settings, "jetpost.test", most=10)
    async with Mx("mx.dest.test", loopback_address(), script=Script(replies=replies, extensions=extensions)) as host:
        try:
            entry = attempts.entry(Inline(LETTER), *TO)
            return await attempts.tried_with(pool, [host], entry, settings), host
        finally:
            await pool.aclose()


@pytest.mark.parametrize("extensions", [EXTENSIONS, ()], ids=["in a group", "one by one"])
@pytest.mark.parametrize("reply", BEYOND)
async def test_they_follow_in_the_next_transaction(reply: str, extensions: tuple[str, ...]) -> None:
    made, host = await tried({"u2": (reply,), "u3": (reply,)}, extensions)

    assert {type(made.outcomes[it]) for it in TO} == {Delivered}
    assert [message.recipients for message in host.messages] == [
        ("u0@dest.test", "u1@dest.test"),
        ("u2@dest.test", "u3@dest.test"),
    ]


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [("451 4.7.1 not now", Deferred), ("450 4.2.1 busy", Deferred), ("550 5.1.1 nobody", Bounced)],
)
async def test_what_is_about_a_recipient_alone_is_no_limit(reply: str, outcome: type) -> None:
    made, host = await tried({"u2": (reply,)}, EXTENSIONS)

    assert [type(made.outcomes[it]) for it in TO] == [Delivered, Delivered, outcome, Delivered]
    assert len(host.messages) == 1


@pytest.mark.parametrize("reply", BEYOND)
async def test_a_host_that_takes_not_even_one_ends_the_attempt(reply: str) -> None:
    made, host = await tried({"RCPT": reply}, EXTENSIONS)

    assert Delivered not in {type(made.outcomes[it]) for it in TO}
    assert host.heard["MAIL"] == 1
