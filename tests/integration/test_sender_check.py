"""`ingress.sender_check`: mail whose sender does not meet what large providers demand is refused, or told of."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from ingress.verify.sender_check import SenderChecker, sender_checker
from ingress.verify.sender_demands import SenderCheck
from jetpost.config.load import check, configuration_model
from jetpost.dns.resolver import Dns
from jetpost.events.follow import follow
from jetpost.events.record import SenderWarned
from jetpost.jetstream.connection import connected
from jetpost.jetstream.settings import Nats
from jetpost.sign.author import Authors
from tests.conftest import MakeSystem
from tests.fixtures.dkim import signing
from tests.fixtures.eventually import eventually
from tests.fixtures.sender_zones import ALL, IP, NONE, txt
from tests.fixtures.system import System
from tests.fixtures.zone import ServedZone, served

SIGNED, UNSIGNED = "home.test", "checked.test"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
BODY = b"Date: Mon, 23 Nov 2026 12:00:00 +0000\r\nMessage-ID: <x@x.test>\r\n\r\nA line.\r\n"


def letter(*authors: str) -> bytes:
    return b"".join(b"From: %s\r\n" % it.encode() for it in authors) + BODY


async def reply(system: System, reverse_path: str, *authors: str) -> str:
    return str(await system.submit(reverse_path, ["bob@nobody.test"], letter(*authors)))


@pytest.fixture
def zones(names: ServedZone) -> Any:
    """Sender domains in the zone of the systems."""
    published = {
        f"_dmarc.{SIGNED}": txt(NONE),
        UNSIGNED: txt(ALL),
        f"_dmarc.{UNSIGNED}": txt(NONE),
        "other-address.test": txt("v=spf1 ip4:198.51.100.9 -all"),
        "_dmarc.other-address.test": txt(NONE),
        "no-dmarc.test": txt(ALL),
        "failing.test": {"rcode": "SERVFAIL"},
        "_dmarc.failing.test": {"rcode": "SERVFAIL"},
        "nobody.test": {"mx": [(0, ".")]},
    }
    for name, fields in published.items():
        names.add(name, **fields)
    yield
    for name in published:
        names.remove(name)


async def test_a_sender_who_would_be_refused_is_refused_here(
    make_system: MakeSystem, zones: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    wanted = {"mode": "refuse", "egress_addresses": [IP], "signed_by_upstream": ["upstream.test"]}
    keys = signing(tmp_path_factory.mktemp("keys"))
    system = await make_system({"ingress.sender_check": wanted, **keys})

    for author, path, expected in (
        (f"ann@{SIGNED}", "x@elsewhere.test", "250 2.0.0"),
        (f"ann@{UNSIGNED}", f"ann@{UNSIGNED}", "250 2.0.0"),
        (f"Ann <ann@{UNSIGNED}>, bob@{UNSIGNED.upper()}", f"ann@{UNSIGNED}", "250 2.0.0"),
        (f"ann@{UNSIGNED}", "x@elsewhere.test", "550 5.7.26"),
        (f"ann@{UNSIGNED}", "", "550 5.7.26"),
        ("ann@other-address.test", "ann@other-address.test", "550 5.7.26"),
        ("ann@no-dmarc.test", "ann@no-dmarc.test", "550 5.7.1"),
        ("ann@nowhere.test", "ann@nowhere.test", "550 5.7.26"),
        ("ann@failing.test", "ann@failing.test", "250 2.0.0"),
        ("ann@mail.upstream.test", "ann@upstream.test", "550 5.7.1"),
        ("nobody", f"ann@{SIGNED}", "550 5.7.1"),
        (f"ann@{SIGNED}, bob@{UNSIGNED}", f"ann@{SIGNED}", "550 5.7.1"),
    ):
        assert (await reply(system, path, author)).startswith(expected), (author, path)
    assert (await reply(system, f"ann@{SIGNED}")).startswith("550 5.7.1"), "no From"
    assert (await reply(system, f"ann@{SIGNED}", f"a@{SIGNED}", f"b@{SIGNED}")).startswith("550 5.7.1"), "two fields"
    ingress, counted = system.ingress[0], "jetpost_ingress_sender_faults_total"
    assert await ingress.metric("jetpost_ingress_rejections_total", reason="not-authenticated") == 4
    assert await ingress.metric(counted, action="refuse", fault="unknown") >= 1

    async with system.relaying("127.0.0.2") as stranger:
        assert (await stranger.transact("x@y.test", ["bob@ours.test"], letter("x@nowhere.test") + b".\r\n")).code == 250


async def test_a_warning_is_an_event_and_the_message_is_accepted(make_system: MakeSystem, zones: None) -> None:
    system = await make_system({"ingress.sender_check.mode": "warn"})

    assert (await reply(system, "a@nowhere.test", "ann@nowhere.test")).startswith("250")
    assert (await reply(system, f"a@{SIGNED}", "ann@failing.test")).startswith("250")

    told: list[SenderWarned] = []
    async with connected(Nats(servers=(system.servers[0].url,)), "test") as jetstream:
        async with asyncio.timeout(30):
            async for event in follow(jetstream, LONG_AGO):
                if isinstance(event, SenderWarned):
                    told.append(event)
                    break
    assert (told[0].author, told[0].faults) == ("nowhere.test", ("no-dmarc", "not-authenticated"))
    assert await system.ingress[0].metric("jetpost_ingress_sender_faults_total", action="warn", fault="no-dmarc") == 1
    await system.told(system.ingress[0], "sender does not meet the demands of providers")


@pytest.mark.parametrize("written", ["{}", "{mode: off}", "{mode: 'off'}", "{mode: no}"])
def test_off_is_off_however_it_is_written(written: str) -> None:
    text = f"ingress: {{sender_check: {written}}}"

    checked = check(text, {}, configuration_model(["ingress"]), name="x")

    assert checked.ingress.sender_check.mode == "off"  # type: ignore[attr-defined]


def test_off_costs_no_import() -> None:
    program = "import sys, ingress.service; print([it for it in sys.modules if it.startswith('jetpost.sender')])"

    printed = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)  # noqa: S603

    assert printed.stdout.strip() == "[]"


async def test_off_looks_at_nothing(system: System, names: ServedZone) -> None:
    assert (await reply(system, "a@unasked.test", "ann@unasked.test")).startswith("250")
    assert (await reply(system, "a@unasked.test", "ann@unasked.test", "two@unasked.test")).startswith("250")

    assert names.asked("_dmarc.unasked.test") == 0


# The memory of verdicts


@asynccontextmanager
async def checking(**settings: Any) -> AsyncIterator[tuple[SenderChecker, ServedZone, list[float]]]:
    now = [1000.0]
    async with served() as zone:
        dns = Dns(nameservers=(zone.address,), timeout_s=5, lifetime_s=20, ttl_min_s=0, failure_ttl_s=0, cache_size=0)
        section = SenderCheck(mode="refuse", **settings)
        async with sender_checker(section, dns, lambda _: (), lambda: now[0], hostname="Out.ehlo.test") as checker:
            yield checker, zone, now


def of(domain: str) -> Authors:
    return Authors(1, (domain,))


async def test_a_verdict_is_looked_up_once_and_kept_for_its_time() -> None:
    async with checking(egress_addresses=[IP], ttl_s=100, fault_ttl_s=10) as (checker, zone, now):
        zone.add("a.test", **txt(ALL))
        zone.add("_dmarc.a.test", **txt(NONE))

        found = await asyncio.gather(*(checker.faults(of("a.test"), "a.test") for _ in range(50)))
        assert {it.faults for it in found} == {()}
        assert zone.asked("_dmarc.a.test") == 1
        now[0] += 99
        await checker.faults(of("a.test"), "a.test")
        assert zone.asked("_dmarc.a.test") == 1
        zone.remove("_dmarc.a.test")
        now[0] += 2
        assert (await checker.faults(of("a.test"), "a.test")).faults == ("no-dmarc",)
        zone.add("_dmarc.a.test", **txt(NONE))
        assert (await checker.faults(of("a.test"), "a.test")).faults == ("no-dmarc",)
        now[0] += 11
        assert (await checker.faults(of("a.test"), "a.test")).faults == ()


async def test_the_null_reverse_path_has_the_domain_of_the_ehlo_name() -> None:
    async with checking(egress_addresses=[IP]) as (checker, zone, _):
        for author in ("ehlo.test", "other.test"):
            zone.add(f"_dmarc.{author}", **txt(NONE))
        zone.add("out.ehlo.test", **txt(ALL))

        assert (await checker.faults(of("ehlo.test"), "")).faults == ()
        assert (await checker.faults(of("other.test"), "")).faults == ("not-authenticated",)


async def test_the_memory_is_bounded() -> None:
    async with checking(cache_size=5) as (checker, _, _):
        for number in range(20):
            await checker.faults(of(f"d{number}.test"), "")

        assert len(checker._known) == 5
        assert not checker._flights


async def test_a_silent_name_server_ends_the_wait_and_refuses_nobody() -> None:
    async with checking(timeout_s=2) as (checker, zone, _):
        zone.silent("_dmarc.mute.test")

        silent = asyncio.gather(*(checker.faults(of("mute.test"), "") for _ in range(50)))
        await eventually(lambda: zone.asked("_dmarc.mute.test"), "it is asked")
        looking = [task for task in asyncio.all_tasks() if task.get_name() == "sender mute.test"]
        assert len(looking) == 1, "who waits for the same verdict shares the look-up"
        other = await checker.faults(of("other.test"), "")

        assert other.faults == ("no-dmarc", "not-authenticated")
        assert {it.faults for it in await silent} == {()}
