"""Signatures verify at the far end: by OpenDKIM behind a real Postfix, and by mailauth."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.conftest import MakeMx
from tests.end_to_end.conftest import Mailboxes, kept_mail, needs
from tests.fixtures.client import stuffed
from tests.fixtures.configuration import Surroundings
from tests.fixtures.dkim import CONTENTS, HEADER, records, signing, signing_keys
from tests.fixtures.eventually import eventually
from tests.fixtures.nats import NatsServer
from tests.fixtures.system import System
from tests.fixtures.verifiers import OpenDkim, mailauth_results, opendkim_results
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


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def signer(surroundings: Surroundings, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    folder = tmp_path_factory.mktemp("signer")
    system = System(folder, surroundings, [NatsServer(folder)], signing(folder))
    try:
        yield await system.start()
    finally:
        await system.stop()


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


async def submitted(signer: System, domain: str, sender: str) -> None:
    """Hand in each message for a user of its own, and some of them for one that does not exist."""
    async with signer.relaying() as client:
        for number, (name, content) in enumerate(MESSAGES.items()):
            to = [f"{number}@{domain}"] + ["nobody@nowhere.test"] * (name in BOUNCED)
            assert (await client.transact(sender, to, stuffed(content), " BODY=8BITMIME")).code == 250


async def test_opendkim_verifies_them(signer: System, verifying: Mailboxes) -> None:
    await submitted(signer, "opendkim.test", "dsn@opendkim-home.test")

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


async def test_mailauth_verifies_them(signer: System, mx: MakeMx, mailauth: Path, tmp_path: Path) -> None:
    dest, home = await mx("mailauth.test"), await mx("mailauth-home.test")

    await submitted(signer, "mailauth.test", "dsn@mailauth-home.test")

    received = [(await dest.received(f"{number}@mailauth.test")).content for number in range(len(MESSAGES))]
    await eventually(lambda: len(home.messages) == len(BOUNCED), "the DSNs are there")
    dsns = [message.content for message in home.messages]
    passed = [f"{algorithm} {{}} pass" for algorithm in ("rsa-sha256", "ed25519-sha256")]
    expected = [[it.format("home.test") for it in passed]] * len(received)
    expected += [[it.format("jetpost.test") for it in passed]] * len(dsns)
    assert mailauth_results(mailauth, tmp_path, PUBLISHED, received + dsns) == expected

    changed = received[0].replace(b"\r\n\r\n", b"\r\n\r\nmore\r\n", 1)
    (results,) = mailauth_results(mailauth, tmp_path, PUBLISHED, [changed])
    assert results == [it.format("home.test").replace("pass", "neutral") for it in passed]
