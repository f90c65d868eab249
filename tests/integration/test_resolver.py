import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from delivery.route.endpoint import ConnectionTerms
from delivery.route.mx import MxHost, Route
from delivery.route.plan import Routing, plan
from jetpost.dns.answer import Failed, Found, MxRecord, NoData, NoDomain
from jetpost.dns.authoritative import _Datagrams
from jetpost.dns.resolver import Dns, Resolver
from jetpost.mail.outcome import Bounced, Deferred
from jetpost.up.probe import free_port
from tests.fixtures.addresses import loopback_address
from tests.fixtures.attempts import on_uvloop
from tests.fixtures.eventually import PATIENCE_S, eventually, eventually_asked
from tests.fixtures.zone import ServedZone, served
from tests.fixtures.zone import zone as a_zone

zone = a_zone
PATIENT = Dns(timeout_s=10, lifetime_s=PATIENCE_S, ttl_min_s=0)
"""Where everybody answers: a machine that stands still for a moment is not asked twice."""
SOON = Dns(timeout_s=0.5, lifetime_s=2, ttl_min_s=0)
"""Where somebody does not."""
NEXT_SOON = Dns(timeout_s=0.5, lifetime_s=PATIENCE_S, ttl_min_s=0)
"""Where one does not and the next one does."""


@asynccontextmanager
async def asking(*zones: ServedZone | str, settings: Dns = PATIENT) -> AsyncIterator[Resolver]:
    servers = tuple(zone if isinstance(zone, str) else zone.address for zone in zones)
    resolver = Resolver(settings.model_copy(update={"nameservers": servers}))
    try:
        yield resolver
    finally:
        await resolver.aclose()


async def test_answers_are_told_apart(zone: ServedZone) -> None:
    zone.add("dest.test", mx=[(10, "MX1.dest.test"), (20, "mx2.dest.test")], ttl=30)
    zone.add("mx1.dest.test", a=["127.0.0.2", "127.0.0.3"], aaaa=["::1"])
    zone.add("null.test", mx=[(0, ".")])
    zone.fail("broken.test")
    zone.fail("refused.test", rcode="REFUSED")
    zone.silent("mute.test")
    name_server = f"name server {zone.address.replace(':', ' port ')}"
    async with asking(zone) as resolver, asking(zone, settings=SOON) as impatient:
        records = (MxRecord(10, "mx1.dest.test"), MxRecord(20, "mx2.dest.test"))
        assert await resolver.mx("Dest.test.") == Found(records, 30)
        addresses = await resolver.a("mx1.dest.test")
        assert isinstance(addresses, Found)
        assert set(addresses.records) == {"127.0.0.2", "127.0.0.3"}
        assert await resolver.aaaa("mx1.dest.test") == Found(("::1",), 60)
        assert await resolver.mx("null.test") == Found((MxRecord(0, ""),), 60)
        assert await resolver.mx("mx1.dest.test") == NoData(60)
        assert await resolver.mx("nowhere.test") == NoDomain(60)
        assert await resolver.mx("broken.test") == Failed(f"{name_server}: SERVFAIL")
        assert await resolver.mx("refused.test") == Failed(f"{name_server}: REFUSED")
        assert await impatient.mx("mute.test") == Failed("no answer within 2 s", timed_out=True)


@pytest.mark.parametrize("name", ["a..test", "x" * 64 + ".test", "", "x." * 200, "\u2028.test"])
async def test_what_is_no_name_does_not_exist(zone: ServedZone, name: str) -> None:
    async with asking(zone) as resolver:
        assert isinstance(await resolver.a(name), NoDomain | NoData)


@pytest.mark.parametrize("links_max", [16, 0], ids=["by the name server", "by the resolver"])
async def test_cnames_are_followed(zone: ServedZone, links_max: int) -> None:
    zone.links_max = links_max
    zone.add("alias.test", cname="other.test", ttl=9)
    zone.add("other.test", cname="host.test")
    zone.add("host.test", a=["127.0.0.2"])
    zone.add("nowhere.test", cname="gone.test")
    zone.add("circle.test", cname="circle.test")
    async with asking(zone) as resolver:
        assert await resolver.a("alias.test") == Found(("127.0.0.2",), 9)
        assert await resolver.aaaa("alias.test") == NoData(9)
        assert isinstance(await resolver.a("nowhere.test"), NoDomain)
        assert isinstance(await resolver.a("circle.test"), Failed | NoData)


async def test_a_long_answer_comes_over_tcp(zone: ServedZone) -> None:
    zone.add("many.test", mx=[(n, f"a-host-with-a-long-name-{n}.many.test") for n in range(200)])
    async with asking(zone) as resolver:
        answer = await resolver.mx("many.test")
    assert isinstance(answer, Found)
    assert len(answer.records) == 200
    assert zone.asked("many.test") == 2, "once over UDP, once over TCP"


@pytest.mark.parametrize(("count", "kept"), [(256, 256), (300, 256), (3000, None)])
async def test_of_a_huge_answer_little_is_kept_and_a_larger_one_is_no_answer(
    zone: ServedZone, count: int, kept: int | None
) -> None:
    zone.add("huge.test", a=[f"10.0.{n // 256}.{n % 256}" for n in range(count)], mx=[(n, "x") for n in range(count)])
    async with asking(zone, settings=PATIENT) as resolver:
        for answer in (await resolver.a("huge.test"), await resolver.mx("huge.test")):
            if kept is None:
                assert isinstance(answer, Failed)
                assert "bytes" in answer.why
                assert not answer.timed_out
            else:
                assert isinstance(answer, Found)
                assert len(answer.records) == kept


@pytest.mark.parametrize("says", [b"", b"\x00", b"\xff\xff", b"\x00\x05hello", b"\x40\x01" + b"x" * 20_000])
async def test_what_is_no_answer_over_tcp_is_a_failure(zone: ServedZone, says: bytes) -> None:
    zone.add("many.test", a=[f"10.0.0.{n}" for n in range(200)])

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(says)
        writer.close()

    # Not a port of the kernel's choice: free for TCP does not mean free for UDP, which outgoing questions use.
    address, port, loop = loopback_address(), free_port(), asyncio.get_running_loop()
    async with await asyncio.start_server(serve, address, port):
        datagrams, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(zone), local_addr=(address, port))
        async with asking(f"{address}:{port}", settings=SOON) as resolver:
            assert isinstance(await resolver.a("many.test"), Failed)
        datagrams.close()


async def test_answers_are_kept_for_their_time(zone: ServedZone) -> None:
    zone.negative_ttl = 1
    zone.add("long.test", a=["127.0.0.2"], ttl=60)
    zone.add("short.test", a=["127.0.0.2"], ttl=1)
    names = ("long.test", "short.test", "nowhere.test")
    async with asking(zone) as resolver:
        hits = REGISTRY.get_sample_value("jetpost_dns_cache_hits_total") or 0
        for name in names * 2:
            await resolver.a(name)
        assert [zone.asked(name) for name in names] == [1, 1, 1]
        assert REGISTRY.get_sample_value("jetpost_dns_cache_hits_total") == hits + 3

        async def asked_again() -> bool:
            for name in names:
                await resolver.a(name)
            return min(zone.asked(name) for name in names[1:]) == 2

        await eventually_asked(asked_again, "the short-lived answers are asked for again")
        assert zone.asked("long.test") == 1


async def test_a_failure_is_forgotten_soon(zone: ServedZone) -> None:
    zone.fail("dest.test")
    async with asking(zone, settings=PATIENT.model_copy(update={"failure_ttl_s": 0.05})) as resolver:
        assert isinstance(await resolver.a("dest.test"), Failed)
        zone.add("dest.test", a=["127.0.0.2"])

        async def found() -> bool:
            return isinstance(await resolver.a("dest.test"), Found)

        await eventually_asked(found, "the answer after the failure")


async def test_a_ttl_of_zero_is_not_a_question_a_message(zone: ServedZone) -> None:
    zone.add("dest.test", a=["127.0.0.2"], ttl=0)
    async with asking(zone, settings=Dns()) as resolver:
        for _ in range(3):
            await resolver.a("dest.test")
    assert zone.asked("dest.test") == 1


async def test_who_asks_the_same_waits_for_one_look_up(zone: ServedZone) -> None:
    zone.add("dest.test", a=["127.0.0.2"])
    async with asking(zone) as resolver:
        answers = await asyncio.gather(*(resolver.a("dest.test") for _ in range(20)))
    assert set(answers) == {Found(("127.0.0.2",), 60)}
    assert zone.asked("dest.test") == 1


async def test_who_gives_up_waiting_does_not_take_the_answer_from_others(zone: ServedZone) -> None:
    zone.silent("slow.test")
    async with asking(zone, settings=Dns(timeout_s=0.1, lifetime_s=PATIENCE_S)) as resolver:
        impatient = asyncio.create_task(resolver.a("slow.test"))
        patient = asyncio.create_task(resolver.a("slow.test"))
        await eventually(lambda: zone.asked("slow.test"), "the question")
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        zone.add("slow.test", a=["127.0.0.2"])
        assert await patient == Found(("127.0.0.2",), 60)


async def test_a_dead_name_server_costs_one_time_out(zone: ServedZone) -> None:
    zone.add("a.test", a=["127.0.0.2"])
    zone.add("b.test", a=["127.0.0.2"])
    async with AsyncExitStack() as stack:
        mute = await stack.enter_async_context(served())
        for name in ("a.test", "b.test"):
            mute.silent(name)
        resolver = await stack.enter_async_context(asking(mute, zone, settings=NEXT_SOON))
        assert isinstance(await resolver.a("a.test"), Found)
        assert isinstance(await resolver.a("b.test"), Found)
        assert (mute.asked("a.test"), mute.asked("b.test")) == (1, 0)


async def test_when_nobody_answers_a_look_up_still_ends() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
        nobody.bind(("127.0.0.1", 0))
        async with (
            asking(f"127.0.0.1:{nobody.getsockname()[1]}", settings=SOON) as resolver,
            asyncio.timeout(PATIENCE_S),
        ):
            names = [f"{n}.test" for n in range(300)]
            answers = await asyncio.gather(*(resolver.a(name) for name in names))
    assert all(isinstance(answer, Failed) and answer.timed_out for answer in answers)


async def test_closing_gives_up_what_is_under_way(zone: ServedZone) -> None:
    zone.silent("mute.test")
    async with asking(zone, settings=Dns()) as resolver:
        waiting = asyncio.create_task(resolver.a("mute.test"))
        await eventually(lambda: zone.asked("mute.test"), "the question")
    with pytest.raises(asyncio.CancelledError):
        await waiting


def test_it_works_on_uvloop() -> None:
    async def scenario() -> None:
        async with served() as zone, asking(zone) as resolver, asking(zone, settings=SOON) as impatient:
            zone.add("dest.test", a=["127.0.0.2"])
            zone.add("many.test", mx=[(n, f"a-host-with-a-long-name-{n}.many.test") for n in range(200)])
            assert await resolver.a("dest.test") == Found(("127.0.0.2",), 60)
            assert isinstance(await resolver.mx("many.test"), Found)
            assert isinstance(await resolver.a("nowhere.test"), NoDomain)
            zone.silent("mute.test")
            assert isinstance(await impatient.a("mute.test"), Failed)

    on_uvloop(scenario())


async def test_a_route_is_planned_from_what_dns_says(zone: ServedZone) -> None:
    zone.add("dest.test", mx=[(20, "mx2.dest.test"), (10, "mx1.dest.test"), (5, "gone.test")])
    zone.add("mx1.dest.test", cname="real.dest.test")
    zone.add("real.dest.test", a=["127.0.0.2"])
    zone.add("mx2.dest.test", a=["127.0.0.3"], aaaa=["::1"])
    zone.add("plain.test", a=["127.0.0.4"])
    zone.add("alias.test", cname="dest.test")
    zone.add("empty.test", txt=["no mail here"])
    zone.add("null.test", mx=[(0, ".")])
    zone.add("lame.test", mx=[(10, "mx.broken.test")])
    zone.fail("mx.broken.test")
    zone.fail("broken.test")
    zone.silent("mute.test")
    dest = Route((MxHost("mx1.dest.test", ("127.0.0.2",), 2525), MxHost("mx2.dest.test", ("127.0.0.3", "::1"), 2525)))
    async with asking(zone, settings=SOON) as resolver:

        async def planned(domain: str) -> Route | Deferred | Bounced:
            return await plan(
                domain,
                resolver,
                Routing(port=2525, prefer="ipv4"),
                ConnectionTerms(),
                own="us.home.test",
                draw=lambda: 0.5,
            )

        assert await planned("dest.test") == dest
        assert await planned("alias.test") == dest
        assert await planned("plain.test") == Route((MxHost("plain.test", ("127.0.0.4",), 2525),))
        for domain, status in {
            "nowhere.test": "5.1.2",
            "empty.test": "5.1.2",
            "null.test": "5.1.10",
            "[127.0.0.4]": "5.1.2",
            "lame.test": "4.4.3",
            "broken.test": "4.4.3",
            "mute.test": "4.4.3",
        }.items():
            outcome = await planned(domain)
            assert isinstance(outcome, Deferred if status.startswith("4") else Bounced), domain
            assert str(outcome.status) == status, domain


async def test_the_server_runs_as_a_process_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "zone.json"
    file.write_text('{"dest.test": {"mx": [[10, "mx.dest.test"]], "ttl": 5}, "mute.test": {"silent": true}}')
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.fixtures.zone", "--zone", str(file), stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE_S):
            said = (await server.stdout.readline()).decode().split()
            async with asking(said[-1]) as resolver, asking(said[-1], settings=SOON) as impatient:
                assert await resolver.mx("dest.test") == Found((MxRecord(10, "mx.dest.test"),), 5)
                assert await impatient.mx("mute.test") == Failed("no answer within 2 s", timed_out=True)
    finally:
        server.terminate()
        await server.wait()
