"""RFC 5321, 4.5.3.2: each wait ends by itself, and an attempt as a whole; but the final dot has its ten minutes."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from delivery.attempt.config import AttemptSettings
from delivery.connect.timeouts import Timeouts
from jetpost.mail.content import Inline, Reference
from jetpost.mail.outcome import Deferred, Outcome
from jetpost.queue.model.entry import Entry
from tests.conftest import MakeMx, MakeSystem
from tests.fixtures import attempts
from tests.fixtures.addresses import loopback_address
from tests.fixtures.attempts import BOB, entry
from tests.fixtures.configuration import Surroundings
from tests.fixtures.eventually import eventually_asked
from tests.fixtures.letters import LETTER
from tests.fixtures.mx import Mx
from tests.fixtures.mx_script import EXTENSIONS, SILENCE, Script
from tests.fixtures.zone import ServedZone

SHORT_S = 0.3
WAITS = {"CONNECT": "greeting_s", "EHLO": "ehlo_s", "MAIL": "mail_s", "RCPT": "rcpt_s", "DATA": "data_s"}


@pytest.mark.parametrize("extensions", [EXTENSIONS, ()], ids=["in a group", "one by one"])
async def test_a_host_that_falls_silent_is_left_for_the_next_one(
    make_system: MakeSystem, mx: MakeMx, extensions: tuple[str, ...]
) -> None:
    system = await make_system({f"delivery.attempt.timeouts.{wait}": SHORT_S for wait in WAITS.values()})
    domains = {moment: f"silent-at-{moment.lower()}{len(extensions)}.test" for moment in WAITS}
    silent = [await mx(domain, replies={moment: SILENCE}, extensions=extensions) for moment, domain in domains.items()]
    spares = [await mx(domain, preference=20) for domain in domains.values()]

    for domain in domains.values():
        await system.submit("ann@home.test", [f"bob@{domain}"], LETTER)

    for spare, domain in zip(spares, domains.values(), strict=True):
        await spare.received(f"bob@{domain}")
    assert all(host.connections for host in silent)


async def test_a_host_that_is_silent_at_starttls_gets_the_mail_in_clear(make_system: MakeSystem, mx: MakeMx) -> None:
    system = await make_system({"delivery.attempt.timeouts.tls_s": SHORT_S})
    dest = await mx("silent-at-tls.test", replies={"STARTTLS": SILENCE}, extensions=(*EXTENSIONS, "STARTTLS"))

    await system.submit("ann@home.test", ["bob@silent-at-tls.test"], LETTER)

    await dest.received("bob@silent-at-tls.test")


async def test_an_address_that_does_not_answer_at_all_is_left_for_the_next_one(
    make_system: MakeSystem, mx: MakeMx, names: ServedZone, surroundings: Surroundings
) -> None:
    system = await make_system({"delivery.attempt.timeouts.connect_s": SHORT_S})
    spare = await mx("unreachable.test", preference=20)
    with unanswered(surroundings.mx_port) as address:
        names.add("nowhere.unreachable.test", a=[address])
        names.add("unreachable.test", mx=[(10, "nowhere.unreachable.test"), (20, spare.name)])

        await system.submit("ann@home.test", ["bob@unreachable.test"], LETTER)

        await spare.received("bob@unreachable.test")


async def test_after_the_final_dot_a_silent_host_is_the_last_one_to_be_tried() -> None:
    async with (
        Mx("first.test", loopback_address(), script=Script(replies={"DOT": SILENCE})) as first,
        Mx("second.test", loopback_address()) as second,
    ):
        outcome = await tried([first, second], entry(Inline(LETTER)), Timeouts.model_construct(final_dot_s=SHORT_S))

    assert isinstance(outcome, Deferred)
    assert "end of data" in outcome.why
    assert second.connections == 0  # the first one may have the message


async def test_a_host_that_takes_no_content_is_left_for_the_next_one() -> None:
    large = entry(Reference("c1", 32 * 1024 * 1024))
    async with (
        Mx("first.test", loopback_address(), script=Script(deaf_to_content=True)) as first,
        Mx("second.test", loopback_address()) as second,
    ):
        outcome = await tried([first, second], large, Timeouts(block_s=SHORT_S))

    assert not isinstance(outcome, Deferred)
    assert second.messages
    assert not first.messages


@pytest.mark.parametrize("extensions", [EXTENSIONS, ()], ids=["in a group", "one by one"])
async def test_a_host_that_always_answers_just_in_time_cannot_hold_an_attempt(
    make_system: MakeSystem, mx: MakeMx, extensions: tuple[str, ...]
) -> None:
    system = await make_system({"delivery.attempt.timeouts.attempt_s": 2, "delivery.attempt.idle_s": 0})
    domain = f"trickling{len(extensions)}.test"
    dest = await mx(domain, delays={"RCPT": 0.5}, extensions=extensions)
    to = [f"u{number}@{domain}" for number in range(20)]

    await system.submit("ann@home.test", to, LETTER)

    (service,) = system.delivery
    line = await system.told(service, "deferred")
    assert "until the attempt had had its time" in line["why"]
    assert not dest.messages
    dest.script.delays.clear()
    await dest.received(to[0])


async def test_the_final_dot_has_its_time_whatever_the_attempt_has_taken(make_system: MakeSystem, mx: MakeMx) -> None:
    system = await make_system({"delivery.attempt.timeouts.attempt_s": 1})
    dest = await mx("thoughtful.test", delays={"DOT": 3.0})

    await system.submit("ann@home.test", ["bob@thoughtful.test"], LETTER)

    await dest.received("bob@thoughtful.test")
    await system.empty()
    assert len(dest.messages) == 1


async def test_required_tls_is_not_done_without(make_system: MakeSystem, mx: MakeMx) -> None:
    system = await make_system({"delivery.attempt.tls": "required", "queue.lifetime_s": 2})
    dest, (service,) = await mx("in-clear-only.test"), system.delivery

    await system.submit("ann@home.test", ["bob@in-clear-only.test"], LETTER)

    line = await system.told(service, "expired")
    assert "offers no TLS, which is required" in line["why"]
    assert dest.connections
    assert dest.heard["MAIL"] == 0

    async def is_sent() -> bool:
        return await system.bouncer.metric("jetpost_bouncer_dsns_total") == 1

    await eventually_asked(is_sent, "the sender is told")


async def tried(hosts: list[Mx], message: Entry, timeouts: Timeouts) -> Outcome:
    """What becomes of a message for Bob in one attempt at these hosts."""
    made = await attempts.tried(hosts, message, AttemptSettings.model_construct(timeouts=timeouts))
    return made.outcomes[BOB]


@contextmanager
def unanswered(port: int) -> Iterator[str]:
    """An address at which connecting goes on for ever: whoever listens there has a full backlog."""
    with socket.socket() as listening, socket.socket() as one, socket.socket() as another:
        address = loopback_address()
        listening.bind((address, port))
        listening.listen(0)
        for waiting in (one, another):
            waiting.settimeout(0)
            waiting.connect_ex((address, port))
        yield address
