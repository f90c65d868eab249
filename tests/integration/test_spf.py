"""SPF by the test suite of RFC 7208 (openspf.org, release 2014.04; see tests/fixtures/spf), over real DNS."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from jetpost.dns.resolver import Dns, Resolver
from jetpost.sender.spf.evaluate import check_host
from tests.fixtures.zone import served

SUITE = Path(__file__).parents[1] / "fixtures/spf/rfc7208-tests.yml"


class Case(NamedTuple):
    """A test of the suite."""

    asked: dict[str, Any]
    zone: dict[str, list[Any]]


def cases() -> dict[str, Case]:
    found = {}
    for scenario in yaml.safe_load_all(SUITE.read_text(encoding="utf-8")):
        for name, asked in scenario["tests"].items():
            found[f"{scenario['description']}: {name}"] = Case(asked, scenario["zonedata"])
    return found


def node(entries: list[Any]) -> dict[str, Any]:
    """What the suite says about a name, as fields of a Node. An SPF entry is a TXT record, unless there is one."""
    fields: dict[str, Any] = {}
    plain = [next(iter(entry.items())) for entry in entries if isinstance(entry, dict)]
    has_txt = any(kind == "TXT" for kind, _ in plain)
    for kind, value in plain:
        match kind:
            case "SPF" if not has_txt:
                fields.setdefault("txt", []).append("".join(value) if isinstance(value, list) else value)
            case "TXT" if value != "NONE":
                fields.setdefault("txt", []).append("".join(value) if isinstance(value, list) else value)
            case "MX":
                fields.setdefault("mx", []).append((value[0], value[1] or "."))
            case "A" | "AAAA" | "PTR":
                fields.setdefault(kind.lower(), []).append(value)
            case "CNAME":
                fields["cname"] = value
            case _:
                pass
    if "TIMEOUT" in entries and "txt" not in fields:
        fields["rcode"] = "SERVFAIL"  # to the evaluation the same, and sooner there
    return fields


CASES = cases()


@pytest.fixture
async def resolver(request: pytest.FixtureRequest) -> AsyncIterator[Resolver]:
    async with served() as zone:
        for name, entries in CASES[request.getfixturevalue("case")].zone.items():
            zone.add(str(name), **node(entries))
        resolver = Resolver(Dns(nameservers=(zone.address,), timeout_s=10, lifetime_s=20, failure_ttl_s=0))
        try:
            yield resolver
        finally:
            await resolver.aclose()


@pytest.mark.parametrize("case", CASES)
async def test_the_suite_of_rfc_7208(case: str, resolver: Resolver) -> None:
    asked = CASES[case].asked
    sender = asked["mailfrom"]
    domain = sender.rpartition("@")[2] if sender else asked["helo"]

    said = await check_host(resolver, asked["host"], domain, sender, asked["helo"])

    expected = asked["result"] if isinstance(asked["result"], list) else [asked["result"]]
    assert said.result in expected, said.why
    if asked.get("explanation", "DEFAULT") != "DEFAULT":
        # The nibbles of an IPv6 address are in lower case, as in RFC 7208, 7.4; the suite has them in upper case.
        assert said.explanation.lower() == asked["explanation"].lower()
