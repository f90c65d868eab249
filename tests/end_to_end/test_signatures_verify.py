"""Signatures verify at the far end: by OpenDKIM behind a real Postfix, and by mailauth."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from jetpost.up.probe import free_port
from tests.end_to_end.conftest import Mailboxes, kept_mail, needs
from tests.fixtures.addresses import loopback_address
from tests.fixtures.client import stuffed
from tests.fixtures.configuration import Surroundings
from tests.fixtures.dkim import CONTENTS, HEADER, records, signing, signing_keys
from tests.fixtures.eventually import eventually
from tests.fixtures.mx import Mx
from tests.fixtures.mx_script import EXTENSIONS, Script
from tests.fixtures.nats import NatsServer
from tests.fixtures.system import System
from tests.fixtures.verifiers import OpenDkim, mailauth_results, opendkim_file_results, opendkim_results
from tests.fixtures.zone import ServedZone

PUBLISHED = records(*signing_keys("home.test"), *signing_keys("jetpost.test"))
LINE = b"." + b"0123456789 \t " * 5 + b"\r\n"
LARGE = HEADER + LINE * (50 * 1024 * 1024 // len(LINE))
MESSAGES = {**CONTENTS, "50 MB": LARGE}
BOUNCED = [name for name in MESSAGES if name in {"awkward", "utf-8 header", "by reference", "50 MB"}]
"""Of these there are DSNs."""
POSTFIX = {
    "message_size_limit": "0",
    "virtual_mailbox_limit": "0",
    "smtputf8_enable": "yes",
    "milter_default_action": "tempfail",
}

pytestmark = pytest.mark.timeout(300)


class Far(NamedTuple):
    """A system that signs, and the hosts at the far ends of its routes."""

    signer: System
    hosts: dict[str, Mx]
    """By route. The domains `ROUTE.test` and `ROUTE-home.test` are there."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def far(
    surroundings: Surroundings, names: ServedZone, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Far]:
    folder = tmp_path_factory.mktemp("signer")
    scripts = {
        "mx": Script(extensions=(*EXTENSIONS, "CHUNKING")),
        "hosts": Script(),
        "lmtp": Script(lmtp=True),
        "fallback": Script(),
    }
    async with AsyncExitStack() as running:
        hosts = {}
        for route, script in scripts.items():
            port = surroundings.mx_port if route == "mx" else 0
            hosts[route] = await running.enter_async_context(Mx(f"{route}.test", loopback_address(), port, script))
        for domain in ("mx.test", "mx-home.test"):
            names.add(f"mx1.{domain}", a=[hosts["mx"].address])
            names.add(domain, mx=[(10, f"mx1.{domain}")])
            running.callback(names.remove, domain)
            running.callback(names.remove, f"mx1.{domain}")
        actions = {route: _action(host) for route, host in hosts.items()}
        actions["lmtp"]["kind"] = "lmtp"
        nobody = {"kind": "hosts", "tls": "none", "hosts": [{"host": loopback_address(), "port": free_port()}]}
        routes = [
            {"name": route, "match": {"recipients": [f"{route}.test", f"{route}-home.test"]}, "action": action}
            for route, action in {**actions, "fallback": nobody}.items()
            if route != "mx"
        ]
        routes[-1]["fallback"] = actions["fallback"]
        system = System(folder, surroundings, [NatsServer(folder)], {**signing(folder), "delivery.routes": routes})
        running.push_async_callback(system.stop)
        yield Far(await system.start(), hosts)


def _action(host: Mx) -> dict[str, Any]:
    return {"kind": "hosts", "tls": "none", "hosts": [{"host": host.address, "port": host.port}]}


@pytest_asyncio.fixture(loop_scope="session")
async def verifying(surroundings: Surroundings, names: ServedZone, tmp_path: Path) -> AsyncIterator[Mailboxes]:
    """A Postfix whose milter is OpenDKIM."""
    opendkim = OpenDkim(needs("opendkim"), tmp_path, PUBLISHED)
    opendkim.launch()
    try:
        await opendkim.ready()
        users = [f"{number}@opendkim.test" for number in range(len(MESSAGES))]
        more = {**POSTFIX, "smtpd_milters": f"inet:127.0.0.1:{opendkim.port}"}
        with kept_mail(surroundings, names, *users, "dsn@opendkim-home.test", more=more) as mailboxes:
            yield mailboxes
    finally:
        await opendkim.stop()


async def submitted(signer: System, sender: str, *domains: str) -> None:
    """Hand in each message for a user of its own at each domain, and some of them for one that does not exist."""
    async with signer.relaying() as client:
        for number, (name, content) in enumerate(MESSAGES.items()):
            to = [f"{number}@{domain}" for domain in domains] + ["nobody@nowhere.test"] * (name in BOUNCED)
            assert (await client.transact(sender, to, stuffed(content), " BODY=8BITMIME")).code == 250


async def test_opendkim_verifies_them_behind_a_postfix(far: Far, verifying: Mailboxes) -> None:
    await submitted(far.signer, "dsn@opendkim-home.test", "opendkim.test")

    found = {}
    for number, name in enumerate(MESSAGES):
        user = f"{number}@opendkim.test"
        (message,) = await eventually(lambda user=user: verifying.of(user), f"{name} is there")  # type: ignore[misc]
        found[name] = opendkim_results(message)
    assert found == {name: ["pass home.test"] * 2 for name in MESSAGES}

    def all_dsns() -> list[bytes]:
        dsns = verifying.of("dsn@opendkim-home.test")
        return dsns if len(dsns) == len(BOUNCED) else []

    dsns = await eventually(all_dsns, "the DSNs are there")
    assert [opendkim_results(dsn) for dsn in dsns] == [["pass jetpost.test"] * 2] * len(BOUNCED)


async def test_both_verify_what_came_through_every_route(far: Far, mailauth: Path, tmp_path: Path) -> None:
    """Each message, and DSNs: through MX, smart host, LMTP and fallback. They differ in nothing that is signed."""
    await submitted(far.signer, "dsn@mx-home.test", *(f"{route}.test" for route in far.hosts))
    for route in far.hosts:
        await far.signer.submit(f"dsn-{route}@{route}-home.test", ["nobody@nowhere.test"], CONTENTS["awkward"])
    received: dict[bytes, str] = {}
    for route, host in far.hosts.items():
        for number, name in enumerate(MESSAGES):
            content = (await host.received(f"{number}@{route}.test")).content
            received.setdefault(content[content.index(b"DKIM-Signature:") :], f"{name} through {route}")
    assert [it for it in received.values() if not it.endswith(" through mx")] == []
    dsns = [(await host.received(f"dsn-{route}@{route}-home.test")).content for route, host in far.hosts.items()]
    await eventually(lambda: len(far.hosts["mx"].to("dsn@mx-home.test")) == len(BOUNCED), "the DSNs are there")
    dsns += [message.content for message in far.hosts["mx"].to("dsn@mx-home.test")]

    messages = [*received, *dsns]
    signed_by = ["home.test"] * len(received) + ["jetpost.test"] * len(dsns)
    assert len(messages) == len(MESSAGES) + len(far.hosts) + len(BOUNCED)
    passed = [[f"pass {domain}"] * 2 for domain in signed_by]
    assert opendkim_file_results(needs("opendkim"), tmp_path, PUBLISHED, messages) == passed
    passed = [[f"{it} {domain} pass" for it in ("rsa-sha256", "ed25519-sha256")] for domain in signed_by]
    assert mailauth_results(mailauth, tmp_path, PUBLISHED, messages) == passed

    changed = messages[0].replace(b"\r\n\r\n", b"\r\n\r\nmore\r\n", 1)
    (results,) = opendkim_file_results(needs("opendkim"), tmp_path, PUBLISHED, [changed])
    assert results == ["fail home.test"] * 2
    (results,) = mailauth_results(mailauth, tmp_path, PUBLISHED, [changed])
    assert results == [it.replace("pass", "neutral") for it in passed[0]]
