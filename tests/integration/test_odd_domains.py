"""Domains with underscores, of full length, and address literals go the whole way like any other."""

import json

import pytest

from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.eventually import eventually_asked
from tests.fixtures.letters import LETTER
from tests.fixtures.system import System
from tests.fixtures.zone import ServedZone

pytestmark = pytest.mark.asyncio(loop_scope="session")

LONG = ".".join([*(["_" * 60] * 3), "_" * 60 + "." + "t" * 8])
"""The path limit (RFC 5321, 4.5.3.1.3) leaves 252 bytes beside `<b@>`; as a token it has more than 700."""
ODD = ("my_company.test", "a_0123456.test", "_5f.5f.test", LONG)
SENDERS = ("ann@a_0123456.test", f"a@{LONG}", "ann@[127.0.0.1]", "ann@[IPv6:2001:DB8::1]", "ann@[x@y>]")
TIGHT = {
    "delivery.lanes.connections_per_domain": 1,
    "delivery.lanes.first_connections": 1,
    "delivery.lanes.waiting_per_domain": 0,
    "delivery.watchdog_s": 1,
}


def lead_to(names: ServedZone, host: str) -> None:
    assert len(LONG) == 252
    for domain in ODD:
        names.add(domain, mx=[(10, host)])


async def submit(system: System, sender: str, to: str) -> None:
    async with system.relaying() as client:
        reply = await client.transact(sender, [to], LETTER)
        assert reply.code == 250, reply


async def test_mail_for_them_is_listed_parked_and_delivered(
    make_system: MakeSystem, mx: MakeMx, names: ServedZone
) -> None:
    dest = await mx("odd.test", delays={"MAIL": 0.2})
    lead_to(names, dest.name)
    system = await make_system(TIGHT, delivery=0)
    for number in range(3):
        for domain in ODD:
            await submit(system, "me@home.test", f"{number}@{domain}")

    status, printed = await system.command("queue", "depth", "--json")
    assert status == 0, printed
    assert json.loads(printed)["domains"] == {domain: {"ready": 3} for domain in ODD}
    for words in (("queue",), ("queue", "list")):
        status, printed = await system.command(*words)
        assert (status, ODD[0] in printed or "@my_" in printed) == (0, True), printed
    for domain in ODD:
        status, printed = await system.command("queue", "list", "--json", "--domain", domain)
        assert (status, [entry["domain"] for entry in json.loads(printed)]) == (0, [domain] * 3), printed

    await system.scale_delivery(1)
    await system.empty()
    assert await system.delivery[0].metric("jetpost_delivery_parked_total") > 0
    arrived = {address for message in dest.messages for address in message.recipients}
    assert arrived == {f"{number}@{domain}" for number in range(3) for domain in ODD}


async def test_dsns_to_them_are_queued_once_and_stop_nobody(
    make_system: MakeSystem, mx: MakeMx, names: ServedZone
) -> None:
    home = await mx("odd-home.test")
    lead_to(names, home.name)
    dest = await mx("picky.test", replies={"RCPT": "550 5.1.1 no such user"})
    system = await make_system(delivery=0)
    for sender in SENDERS:
        await submit(system, sender, f"bob@{dest.name.partition('.')[2]}")
    await system.scale_delivery(1)

    await home.received_all(2)
    await system.empty()
    assert {message.recipients for message in home.messages} == {(sender,) for sender in SENDERS[:2]}

    async def all_were_sent() -> bool:
        return await system.bouncer.metric("jetpost_bouncer_dsns_total") == len(SENDERS)

    await eventually_asked(all_were_sent, "each sender's DSN was made")


async def test_what_cannot_be_handled_is_refused_before_anything_is_stored(make_system: MakeSystem) -> None:
    system = await make_system()
    async with system.relaying() as client:
        assert (await client.say("MAIL FROM:<a@b\u0085.test> SMTPUTF8")).code == 501
        assert (await client.say("MAIL FROM:<me@home.test> SMTPUTF8")).code == 250
        for refused in ("b@[127.0.0.1]", f"b@x.{LONG}", "b@-a.test", '"\u009b31m"@dest.test', "b@\ud7ff_\u2028.test"):
            assert (await client.say(f"RCPT TO:<{refused}>")).is_permanent
    assert await system.depth() == {}
