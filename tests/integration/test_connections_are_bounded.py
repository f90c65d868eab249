"""However many domains there is mail for: a process has no more connections than it was given."""

import resource
from pathlib import Path

from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.eventually import eventually, eventually_asked
from tests.fixtures.letters import LETTER
from tests.fixtures.mx_script import SILENCE
from tests.fixtures.zone import ServedZone

DOMAINS = 8
FLOOD = 15


async def test_a_process_has_no_more_connections_than_it_was_given(
    make_system: MakeSystem, mx: MakeMx, names: ServedZone
) -> None:
    system = await make_system({"delivery.lanes.connections": 2})
    dest = await mx("many0.test", delays={"DOT": 0.1})
    for number in range(1, DOMAINS):
        names.add(f"many{number}.test", mx=[(10, dest.name)])

    async with system.submitting() as client:
        for number in range(2 * DOMAINS):
            await client.transact("me@home.test", [f"u{number}@many{number % DOMAINS}.test"], LETTER)

    await dest.received_all(2 * DOMAINS)
    await system.empty()
    assert dest.most_open == 2


async def test_domains_take_turns_with_the_connections_of_a_process(
    make_system: MakeSystem, mx: MakeMx, names: ServedZone
) -> None:
    system = await make_system({"delivery.lanes.connections": 1})
    (service,) = system.delivery
    dest = await mx("flood.test", delays={"DOT": 2.0})
    names.add("other.test", mx=[(10, dest.name)])
    async with system.submitting() as client:
        for number in range(FLOOD):
            await client.transact("me@home.test", [f"u{number}@flood.test"], LETTER)
        await client.transact("me@home.test", ["bob@other.test"], LETTER)

    async def all_wait() -> bool:
        return await service.metric("jetpost_delivery_waiting") + len(dest.messages) >= FLOOD

    await eventually_asked(all_wait, "everything waits for the one connection")
    before = len(dest.messages)
    dest.script.delays.clear()

    await dest.received_all(FLOOD + 1)
    (place,) = (number for number, message in enumerate(dest.messages) if message.recipients == ("bob@other.test",))
    assert place <= before + 2


async def test_an_idle_connection_makes_way_for_another_domain(make_system: MakeSystem, mx: MakeMx) -> None:
    system = await make_system({"delivery.lanes.connections": 1, "delivery.attempt.idle_s": 600})
    first, second = await mx("idle.test"), await mx("busy.test")
    await system.submit("me@home.test", ["ann@idle.test"], LETTER)
    await first.received("ann@idle.test")

    await system.submit("me@home.test", ["bob@busy.test"], LETTER)

    await second.received("bob@busy.test")
    await eventually(lambda: not first.open, "the idle connection is closed")
    assert second.open
    assert first.heard["QUIT"] == 1


async def test_a_lack_of_files_is_no_failure_of_the_domain(make_system: MakeSystem, mx: MakeMx) -> None:
    system = await make_system({"delivery.lanes.failures_to_suspend": 1, "delivery.attempt.idle_s": 0})
    (service,) = system.delivery
    dest = await mx("fileless.test")
    await system.submit("me@home.test", ["first@fileless.test"], LETTER)  # DNS has been asked, NATS is connected
    await dest.received("first@fileless.test")

    async def is_closed() -> bool:
        return await service.metric("jetpost_delivery_connections") == 0

    await eventually_asked(is_closed, "its connection is closed on our side as well")
    before = resource.prlimit(service.pid, resource.RLIMIT_NOFILE)
    assert before[0] == before[1]  # raised as far as it may be

    resource.prlimit(service.pid, resource.RLIMIT_NOFILE, (lowest_free_descriptor(service.pid), before[1]))
    await system.submit("me@home.test", ["second@fileless.test"], LETTER)

    async def is_starved() -> bool:
        line = next((it for it in service.log_lines() if it["event"] == "no file descriptor for a connection"), None)
        return line is not None

    await eventually_asked(is_starved, "an attempt waits for a file")
    resource.prlimit(service.pid, resource.RLIMIT_NOFILE, before)
    await dest.received("second@fileless.test")
    told = await eventually(
        lambda: [line for line in service.log_lines() if line.get("recipient") == "second@fileless.test"], "it is told"
    )
    assert [(line["event"], line["attempt"]) for line in told] == [("delivered", 1)]
    assert await service.metric("jetpost_delivery_out_of_files_total") >= 1
    assert await service.metric("jetpost_delivery_suspensions_total") == 0


def lowest_free_descriptor(pid: int) -> int:
    """What the next file that a process opens gets: as a limit, it forbids that."""
    taken = {int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()}
    return min(set(range(len(taken) + 1)) - taken)


async def test_dns_is_asked_while_a_domain_waits_for_a_connection(
    make_system: MakeSystem, mx: MakeMx, names: ServedZone
) -> None:
    system = await make_system({"delivery.lanes.connections": 1})
    (service,) = system.delivery
    dest = await mx("holds.test", replies={"ann": SILENCE})
    names.add("waits.test", mx=[(10, dest.name)])
    await system.submit("me@home.test", ["ann@holds.test"], LETTER)
    await eventually(lambda: dest.heard["RCPT"], "the one connection is in use")
    asked = await service.metric("jetpost_dns_lookups_total", answer="found")

    for user in ("bob", "eve"):
        await system.submit("me@home.test", [f"{user}@waits.test"], LETTER)

    async def is_known() -> bool:
        return await service.metric("jetpost_dns_lookups_total", answer="found") > asked

    await eventually_asked(is_known, "the MX records are known before the attempt")
    assert await service.metric("jetpost_delivery_dns_prefetched_total") == 1
    assert await service.metric("jetpost_delivery_waiting") >= 1
    names.remove("waits.test")
