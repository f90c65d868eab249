"""LIMITS (RFC 9422) and SIZE (RFC 1870): a host is sent no more than it takes, and another one gets the rest."""

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from delivery.attempt.config import AttemptSettings
from delivery.connect.pool import Pool
from jetpost.mail.content import Inline
from jetpost.mail.envelope import Recipient
from jetpost.mail.outcome import Bounced, Deferred, Delivered
from tests.fixtures.addresses import loopback_address
from tests.fixtures.attempts import Running, entry, on_uvloop, tried, tried_with
from tests.fixtures.letters import LETTER
from tests.fixtures.mx import Mx
from tests.fixtures.mx_script import EXTENSIONS, Script
from tests.fixtures.searched import at_most

SETTINGS = AttemptSettings()


@dataclass
class Dead:
    """An address of a host at which nobody listens."""

    name: str
    address: str
    port: int


NARROW, WIDE = ("SIZE 10",), ("SIZE 1000000",)


@at_most(20)
@given(
    mail_max=st.none() | st.integers(1, 4),
    rcpt_max=st.none() | st.integers(1, 4),
    messages=st.lists(st.integers(1, 6), min_size=1, max_size=5),
    pipelining=st.booleans(),
)
@example(mail_max=1, rcpt_max=1, messages=[3, 1], pipelining=True)
@example(mail_max=2, rcpt_max=None, messages=[1, 1, 1, 1, 1], pipelining=False)
def test_no_connection_and_no_transaction_exceeds_the_limits(
    mail_max: int | None, rcpt_max: int | None, messages: list[int], *, pipelining: bool
) -> None:
    on_uvloop(_within(mail_max, rcpt_max, messages, pipelining=pipelining))


async def _within(mail_max: int | None, rcpt_max: int | None, messages: list[int], *, pipelining: bool) -> None:
    limits = [f"MAILMAX={mail_max}"] * bool(mail_max) + [f"RCPTMAX={rcpt_max}"] * bool(rcpt_max)
    extensions = ("8BITMIME", f"LIMITS {' '.join(limits)}", *["PIPELINING"] * pipelining)
    # Who is refused counts as well (RFC 9422, 4.2).
    script = Script(extensions=extensions, replies={"u0": "550 5.1.1 no such user"})
    pool = Pool(SETTINGS, "jetpost.test", most=10)
    async with Mx("mx.test", script=script) as host:
        for number, count in enumerate(messages):
            recipients = [Recipient(f"u{n}@d{number}.test") for n in range(count)]
            made = await tried_with(pool, [host], entry(Inline(LETTER), *recipients))
            assert [type(made.outcomes[it]) for it in recipients] == [Bounced, *[Delivered] * (count - 1)]
        await pool.aclose()

        to = Counter(address for message in host.messages for address in message.recipients)
        assert to == {f"u{n}@d{number}.test": 1 for number, count in enumerate(messages) for n in range(1, count)}
        assert max([0, *(len(message.recipients) for message in host.messages)]) <= (rcpt_max or 6)
        transactions = host.heard["MAIL"]
        assert transactions <= host.connections * (mail_max or 100)
        assert host.heard["RCPT"] <= transactions * (rcpt_max or 100)
        assert host.connections == -(-transactions // (mail_max or 100))


@pytest.mark.parametrize(
    ("first", "second", "becomes"),
    [
        (NARROW, WIDE, Delivered),
        (NARROW, EXTENSIONS, Delivered),
        (NARROW, ("SIZE 0",), Delivered),
        (NARROW, ("SIZE",), Delivered),
        (NARROW, (), Delivered),
        (NARROW, NARROW, Bounced),
        (WIDE, NARROW, Delivered),
    ],
)
async def test_a_message_beyond_the_size_of_one_host_goes_to_another(
    first: tuple[str, ...], second: tuple[str, ...], becomes: type
) -> None:
    async with (
        Mx("a.test", loopback_address(), script=Script(extensions=first)) as a,
        Mx("b.test", loopback_address(), script=Script(extensions=second)) as b,
    ):
        message = entry(Inline(LETTER))
        (outcome,) = (await tried([a, b], message, SETTINGS)).outcomes.values()

        assert type(outcome) is becomes
        if isinstance(outcome, Bounced):
            assert str(outcome.status) == "5.3.4"
        for host in (a, b):
            if host.script.extensions == NARROW:
                assert host.heard["MAIL"] == 0  # it is not bothered with what it cannot take


async def test_a_message_too_big_for_one_host_waits_for_another_that_is_down() -> None:
    down = await Mx("b.test", loopback_address()).start()
    await down.stop()
    async with Mx("a.test", loopback_address(), script=Script(extensions=NARROW)) as a:
        for hosts in ([a, down], [down, a]):
            (outcome,) = (await tried(hosts, entry(Inline(LETTER)), SETTINGS)).outcomes.values()
            assert isinstance(outcome, Deferred)


async def test_an_address_that_does_not_answer_is_no_other_host() -> None:
    async with Mx("a.test", loopback_address(), script=Script(extensions=NARROW)) as a:
        dead = Dead(name=a.name, address=loopback_address(), port=a.port)
        orders: list[list[Running]] = [[a, dead], [dead, a]]
        for hosts in orders:
            (outcome,) = (await tried(hosts, entry(Inline(LETTER)), SETTINGS)).outcomes.values()
            assert isinstance(outcome, Bounced)
            assert "takes messages of up to 10 bytes" in outcome.why


async def test_a_host_that_cannot_take_it_is_asked_at_one_address_only() -> None:
    async with Mx("a.test", loopback_address(), script=Script(extensions=NARROW)) as a:
        await tried([a, a, a], entry(Inline(LETTER)), SETTINGS)
        assert a.connections == 1


async def test_what_needs_smtputf8_goes_to_the_host_that_has_it() -> None:
    async with (
        Mx("a.test", loopback_address(), script=Script(extensions=("8BITMIME",))) as a,
        Mx("b.test", loopback_address(), script=Script(extensions=EXTENSIONS)) as b,
    ):
        message = entry(Inline(LETTER), Recipient("jürgen@dest.test"))
        (outcome,) = (await tried([a, b], message, SETTINGS)).outcomes.values()
        assert isinstance(outcome, Delivered)
        assert a.heard["MAIL"] == 0
