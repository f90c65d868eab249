"""Which route and which host took a message is in the log and in events, and so is why another one did not."""

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.addresses import loopback_address
from tests.fixtures.eventually import eventually, eventually_asked
from tests.fixtures.letters import LETTER
from tests.fixtures.mx import Mx
from tests.fixtures.mx_script import DROP, Script
from tests.fixtures.process import Process
from tests.fixtures.system import System
from tests.fixtures.zone import ServedZone

IN_CLEAR = {"kind": "hosts", "tls": "none"}


def to_hosts(*hosts: tuple[str, int]) -> dict[str, Any]:
    return {**IN_CLEAR, "hosts": [{"host": it, "port": port, "preference": n} for n, (it, port) in enumerate(hosts)]}


async def logged(system: System, event: str, **fields: str) -> dict[str, Any]:
    async def line() -> dict[str, Any] | None:
        lines = (line for service in system.delivery for line in service.log_lines())
        return next((it for it in lines if it["event"] == event and fields.items() <= it.items()), None)

    return await eventually_asked(line, f"a line `{event}`")


SAYS: dict[str, tuple[Script, str]] = {
    "down": (Script(replies={"CONNECT": DROP}), "closed the connection"),
    "greets with 421": (Script(replies={"CONNECT": "421 4.3.2 closing"}), "421"),
    "4yz to MAIL": (Script(replies={"MAIL": "451 4.3.0 disk"}), "451"),
    "can never take it": (Script(extensions=("SIZE 10",)), "takes messages of up to 10 bytes"),
}


@pytest.mark.parametrize("case", SAYS)
async def test_the_host_that_fails_is_told_with_the_reason(make_system: MakeSystem, case: str) -> None:
    script, why = SAYS[case]
    async with Mx("first.test", loopback_address(), script=script) as first, Mx("s.test", loopback_address()) as second:
        action = to_hosts((first.address, first.port), (second.address, second.port))
        system = await make_system({"delivery.routes": [{"name": "smart", "action": action}]})
        await system.submit("ann@home.test", ["bob@anywhere.test"], LETTER)

        failed = await logged(system, "host of route failed")
        assert (failed["route"], failed["host"], failed["port"]) == ("smart", first.address, first.port)
        assert why in failed["why"]
        assert failed["next_host"] == f"{second.address}:{second.port}"
        done = await logged(system, "delivered")
        assert (done["route"], done["host"], done["port"]) == ("smart", second.address, second.port)


async def test_two_ports_of_one_host_are_told_apart(make_system: MakeSystem) -> None:
    address = loopback_address()
    script = Script(replies={"MAIL": "451 4.3.0 disk"})
    async with Mx("first.test", address, script=script) as first, Mx("second.test", address) as second:
        action = to_hosts((address, first.port), (address, second.port))
        system = await make_system({"delivery.routes": [{"name": "smart", "action": action}]})
        await system.submit("ann@home.test", ["bob@anywhere.test"], LETTER)

        assert (await logged(system, "delivered"))["port"] == second.port
        assert (await logged(system, "host of route failed"))["port"] == first.port


async def test_a_host_without_an_address_is_told(make_system: MakeSystem, names: ServedZone) -> None:
    async with Mx("second.test", loopback_address()) as second:
        action = to_hosts(("gone.test", 2525), (second.address, second.port))
        system = await make_system({"delivery.routes": [{"name": "smart", "action": action}]})
        await system.submit("ann@home.test", ["bob@anywhere.test"], LETTER)

        failed = await logged(system, "host of route failed")
        assert (failed["host"], failed["port"], failed["why"]) == (
            "gone.test",
            2525,
            "gone.test has no address in DNS",
        )


async def test_the_fallback_is_told_with_the_reason(make_system: MakeSystem) -> None:
    down = Script(replies={"CONNECT": DROP})
    async with (
        Mx("first.test", loopback_address(), script=down) as first,
        Mx("spare.test", loopback_address()) as spare,
    ):
        action, fallback = to_hosts((first.address, first.port)), to_hosts((spare.address, spare.port))
        system = await make_system({"delivery.routes": [{"name": "smart", "action": action, "fallback": fallback}]})
        await system.submit("ann@home.test", ["bob@anywhere.test"], LETTER)

        used = await logged(system, "route uses its fallback")
        assert used["route"] == "smart"
        assert "closed the connection" in used["why"]
        done = await logged(system, "delivered")
        assert (done["route"], done["host"], done["port"]) == ("smart/fallback", spare.address, spare.port)


async def test_events_have_it_too(make_system: MakeSystem, tmp_path: Path) -> None:
    async with Mx("smart.test", loopback_address()) as smart:
        action = to_hosts((smart.address, smart.port))
        system = await make_system({"delivery.routes": [{"name": "smart", "action": action}]})
        command = [sys.executable, "-m", "jetpost", "events", "--since", "1h", "--event", "delivered"]
        config = ["--config", str(system.configuration_file)]
        as_json = Process("json", [*command, *config, "--json"], tmp_path / "json.log")
        for_people = Process("people", [*command, *config], tmp_path / "people.log")
        try:
            as_json.launch()
            for_people.launch()
            await system.submit("ann@home.test", ["bob@anywhere.test"], LETTER)
            (event,) = await eventually(as_json.log_lines, "it is told")
            assert (event["route"], event["host"], event["port"]) == ("smart", smart.address, smart.port)
            at = f"bob@anywhere.test at {smart.address}:{smart.port} by route smart after"
            await eventually(lambda: at in for_people.log_file.read_text(), "it is told for people")
        finally:
            await as_json.stop()
            await for_people.stop()


async def test_what_is_deferred_or_bounces_has_its_route(make_system: MakeSystem) -> None:
    script = Script(replies={"carl": "550 5.1.1 unknown", "dora": "451 4.2.0 later"})
    async with Mx("first.test", loopback_address(), script=script) as first:
        action = to_hosts((first.address, first.port))
        fail = {"name": "closed", "match": {"recipients": ["closed.test"]}, "action": {"kind": "fail", "text": "no"}}
        system = await make_system({"delivery.routes": [fail, {"name": "smart", "action": action}]})
        await system.submit("ann@home.test", ["carl@anywhere.test", "dora@anywhere.test"], LETTER)

        for event in ("bounced", "deferred"):
            done = await logged(system, event)
            assert (done["route"], done["host"], done["port"]) == ("smart", first.address, first.port)
        await system.submit("ann@home.test", ["eve@closed.test"], LETTER)
        assert (await logged(system, "bounced", recipient="eve@closed.test"))["route"] == "closed"


async def test_mail_without_a_route_names_none(make_system: MakeSystem, mx: MakeMx) -> None:
    usual = await mx("usual.test")
    system = await make_system({"delivery.routes": []})
    await system.submit("ann@home.test", ["bob@usual.test"], LETTER)
    await usual.received("bob@usual.test")
    assert "route" not in await logged(system, "delivered")
