"""A host that says that it is sent too much is left alone for a while: its mail waits, and no retry is used up."""

from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.addresses import loopback_address
from tests.fixtures.client import stuffed
from tests.fixtures.eventually import eventually_asked
from tests.fixtures.letters import LETTER
from tests.fixtures.mx import Mx
from tests.fixtures.mx_script import Script
from tests.fixtures.system import System
from tests.integration.test_routes import deferred, hosts, route, routed

LONG = {"delivery.backoff.first_s": 3600, "delivery.backoff.cap_s": 3600}
SHORT = {"delivery.backoff.first_s": 0.3, "delivery.backoff.cap_s": 0.6}


REPLIES = (
    ("CONNECT", "421 4.3.2 too many connections"),
    ("EHLO", "421 4.7.0 try again later"),
    ("MAIL", "421 4.7.28 unusual rate of mail"),
    ("MAIL", "451 4.7.500 Server busy"),
    ("RCPT", "450 4.2.1 Peak SMTP relay limit exceeded"),
    ("DATA", "432 4.3.2 Concurrent connections limit exceeded"),
    ("DOT", "454 Throttling failure: Maximum sending rate exceeded"),
)
"""Moments, and what a host says then."""


async def test_in_the_pause_nothing_is_attempted_and_the_mail_waits(make_system: MakeSystem, mx: MakeMx) -> None:
    other = await mx("not-paused.test")
    async with AsyncExitStack() as running:
        scripts = [Script(replies={moment: reply}) for moment, reply in REPLIES]
        smart = [await running.enter_async_context(Mx("s.test", loopback_address(), script=it)) for it in scripts]
        routes = [route(f"r{n}", hosts(it), senders=[f"s{n}.test"]) for n, it in enumerate(smart)]
        system = await make_system(routed(*routes, **LONG))
        for number, (_, reply) in enumerate(REPLIES):
            await system.submit(f"ann@s{number}.test", [f"bob@first{number}.test"], LETTER)
            assert reply in (await deferred(system, f"bob@first{number}.test"))["why"]
        connections = [it.connections for it in smart]
        for script in scripts:
            script.replies.clear()

        async with system.submitting() as client:
            for number in range(len(REPLIES) * 3):
                sender = f"ann@s{number % len(REPLIES)}.test"
                await client.transact(sender, [f"u{number}@d{number}.test"], stuffed(LETTER))
            await client.transact("ann@home.test", ["bob@not-paused.test"], stuffed(LETTER))

        await other.received("bob@not-paused.test")
        await _waiting(system, len(REPLIES) * 4)
        assert [it.connections for it in smart] == connections
        assert [it.messages for it in smart] == [[]] * len(smart)
        (service,) = system.delivery
        told = [line for line in service.log_lines() if line["event"] == "route throttled"]
        assert [(it["route"], it["host"]) for it in told] == [(f"r{n}", it.address) for n, it in enumerate(smart)]
        for number, (_, reply) in enumerate(REPLIES):
            assert reply in told[number]["why"]
            assert await service.metric("jetpost_delivery_route_throttled", route=f"r{number}") == 1
            assert await service.metric("jetpost_delivery_route_pauses_total", route=f"r{number}") == 1
        _, shown = await system.command("queue", "list")
        assert shown.count("its route is throttled") == len(REPLIES) * 3


async def test_mail_follows_when_the_pauses_end_and_no_retry_was_used_up(make_system: MakeSystem) -> None:
    # After a retry that counted the next wait would be an hour.
    changes = {**SHORT, "delivery.retry.first_s": 0.1, "delivery.retry.cap_s": 3600}
    script = Script(replies={"MAIL": ("451 4.7.500 Server busy",) * 12})
    async with Mx("smart.test", loopback_address(), script=script) as smart:
        system = await make_system(routed(route("smart", hosts(smart)), **changes))
        to = [f"u{number}@d{number}.test" for number in range(8)]
        async with system.submitting() as client:
            for recipient in to:
                await client.transact("ann@home.test", [recipient], stuffed(LETTER))

        await smart.received_all(len(to))
        await system.empty()
        assert sorted(message.recipients[0] for message in smart.messages) == sorted(to)
        (service,) = system.delivery
        assert await service.metric("jetpost_delivery_route_throttled", route="smart") == 0
        assert any(line["event"] == "route no longer throttled" for line in service.log_lines())


async def test_another_host_of_the_route_goes_on(make_system: MakeSystem) -> None:
    script = Script(replies={"DATA": "451 4.7.500 Server busy"})
    async with (
        Mx("first.test", loopback_address(), script=script) as first,
        Mx("second.test", loopback_address()) as second,
    ):
        system = await make_system(routed(route("smart", hosts(first, second)), **LONG))
        await system.submit("ann@home.test", ["u0@d0.test"], LETTER)
        await deferred(system, "u0@d0.test")
        for number in range(1, 4):
            await system.submit("ann@home.test", [f"u{number}@d{number}.test"], LETTER)

        await second.received_all(4)
        await system.empty()
        assert first.heard["MAIL"] == 1
        (service,) = system.delivery
        assert await service.metric("jetpost_delivery_route_throttled", route="smart") == 0


async def test_a_host_that_greets_with_421_is_tried_again_while_the_next_one_answers(make_system: MakeSystem) -> None:
    script = Script(replies={"CONNECT": "421 4.3.2 too many connections"})
    async with (
        Mx("first.test", loopback_address(), script=script) as first,
        Mx("second.test", loopback_address()) as second,
    ):
        system = await make_system(
            routed(route("smart", hosts(first, second)), **LONG, **{"delivery.attempt.idle_s": 0})
        )
        await system.submit("ann@home.test", ["bob@one.test"], LETTER)
        await second.received("bob@one.test")
        script.replies.clear()

        await system.submit("ann@home.test", ["bob@two.test"], LETTER)
        await first.received("bob@two.test")
        (service,) = system.delivery
        assert not [line for line in service.log_lines() if line["event"] == "route throttled"]


async def test_what_a_throttled_route_was_sending_is_halved(make_system: MakeSystem) -> None:
    script = Script(delays={"DOT": 0.2}, replies={"DOT": ("250 2.0.0 taken",) * 20 + ("454 Throttling failure",)})
    async with Mx("smart.test", loopback_address(), script=script) as smart:
        system = await make_system(routed(route("smart", hosts(smart)), **SHORT))
        to = [f"u{number}@d{number}.test" for number in range(40)]
        async with system.submitting() as client:
            for recipient in to:
                await client.transact("ann@home.test", [recipient], stuffed(LETTER))

        await smart.received_all(len(to))
        await system.empty()
        (service,) = system.delivery
        (told,) = [line for line in service.log_lines() if line["event"] == "route throttled"]
        assert 1 <= told["attempts_at_a_time"] <= 20


async def test_a_throttled_recipient_bounces_when_its_time_is_up_and_not_before(
    make_system: MakeSystem, mx: MakeMx
) -> None:
    home = await mx("home-of-throttled.test")
    script = Script(replies={"MAIL": "421 4.7.0 too many connections"})
    async with Mx("smart.test", loopback_address(), script=script) as smart:
        system = await make_system(
            routed(
                route("dsns", {"kind": "mx"}, senders=["<>"]),
                route("smart", hosts(smart)),
                **LONG,
                **{"queue.lifetime_s": 4},
            )
        )
        await system.submit("ann@home-of-throttled.test", ["bob@first.test"], LETTER)
        await deferred(system, "bob@first.test")
        await system.submit("ann@home-of-throttled.test", ["bob@waits.test"], LETTER)

        await home.received_all(2)
        assert smart.heard["MAIL"] == 1
        dsn = next(it for it in home.messages if b"bob@waits.test" in it.content)
        status = dsn.delivery_status("bob@waits.test")
        assert status["Action"] == "failed"
        assert "throttled" in dsn.dsn_text
        await system.empty()


@pytest.mark.parametrize(("moment", "by_fallback"), [("CONNECT", True), ("MAIL", False)])
async def test_the_fallback_is_for_hosts_that_cannot_be_reached_and_not_to_get_round_a_limit(
    make_system: MakeSystem, moment: str, by_fallback: bool
) -> None:
    script = Script(replies={moment: "421 4.7.0 too many"})
    async with Mx("smart.test", loopback_address(), script=script) as smart, Mx("s.test", loopback_address()) as spare:
        rule = {**route("smart", hosts(smart)), "fallback": hosts(spare)}
        system = await make_system(routed(rule, **LONG))
        await system.submit("ann@home.test", ["u0@d0.test"], LETTER)
        await (spare.received("u0@d0.test") if by_fallback else deferred(system, "u0@d0.test"))
        for number in range(1, 3):
            await system.submit("ann@home.test", [f"u{number}@d{number}.test"], LETTER)

        if by_fallback:
            await spare.received_all(3)
            await system.empty()
        else:
            await _waiting(system, 3)
            assert spare.connections == 0
        assert smart.connections == 1


async def test_a_recipient_that_is_greylisted_pauses_nothing(make_system: MakeSystem) -> None:
    script = Script(replies={"bob": ("451 4.7.1 greylisted, come back later",)})
    async with Mx("smart.test", loopback_address(), script=script) as smart:
        system = await make_system(routed(route("smart", hosts(smart)), **LONG))
        await system.submit("ann@home.test", ["bob@one.test"], LETTER)
        await deferred(system, "bob@one.test")
        await system.submit("ann@home.test", ["carl@two.test"], LETTER)

        await smart.received("carl@two.test")
        await smart.received("bob@one.test")


async def _waiting(system: System, count: int) -> None:
    async def waiting() -> Any:
        depth = await system.depth()
        return depth.get("retry", 0) == count and not depth.get("ready", 0)

    await eventually_asked(waiting, f"{count} entries wait")
