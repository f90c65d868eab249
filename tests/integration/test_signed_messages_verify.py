"""What is signed at acceptance verifies at the far end, whatever the message and however it got there."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.client import stuffed
from tests.fixtures.configuration import Surroundings
from tests.fixtures.dkim import CONTENTS, ed25519_pem, records, signing, signing_keys, verdicts
from tests.fixtures.eventually import eventually_asked
from tests.fixtures.letters import AWKWARD, LETTER
from tests.fixtures.message import Message
from tests.fixtures.mx_script import EXTENSIONS, greylist
from tests.fixtures.nats import NatsServer
from tests.fixtures.system import System

SEVEN_BIT = tuple(word for word in EXTENSIONS if word != "8BITMIME")
PUBLISHED = records(*signing_keys("home.test"), *signing_keys("jetpost.test"))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def signer(surroundings: Surroundings, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """One system that signs, for all tests that change no key."""
    folder = tmp_path_factory.mktemp("signer")
    hosts = [{"host": "mx1.upstream.test", "port": surroundings.mx_port}]
    route = {
        "name": "upstream",
        "match": {"recipients": ["routed.test"]},
        "action": {"kind": "hosts", "hosts": hosts, "tls": "none"},
    }
    system = System(folder, surroundings, [NatsServer(folder)], {**signing(folder), "delivery.routes": [route]})
    try:
        yield await system.start()
    finally:
        await system.stop()


def verified(message: Message) -> list[bool]:
    return verdicts(message.content, PUBLISHED)


async def test_every_kind_of_message_verifies(signer: System, mx: MakeMx) -> None:
    dest, old = await mx("verifying.test"), await mx("seven-bit.test", extensions=SEVEN_BIT)
    found = {}
    before = await signer.ingress[0].metric("jetpost_dkim_signed_total")

    for number, (name, content) in enumerate(CONTENTS.items()):
        to = [f"{number}@verifying.test", f"{number}@seven-bit.test"]
        assert (await signer.submit("ann@home.test", to, content, " BODY=8BITMIME")).code == 250
        messages = [await dest.received(to[0]), await old.received(to[1])]
        found[name] = [verified(message) for message in messages]
        assert [len(message.fields("Received")) for message in messages] == [1, 1]
        assert messages[0].content.startswith(b"Received: ")
        # One signature of the message, whatever its way: the same for both.
        assert messages[0].fields("DKIM-Signature") == messages[1].fields("DKIM-Signature")

    assert found == dict.fromkeys(CONTENTS, [[True, True]] * 2)
    assert await signer.ingress[0].metric("jetpost_dkim_signed_total") == before + len(CONTENTS)


async def test_a_message_is_signed_once_however_many_attempts_follow(signer: System, mx: MakeMx) -> None:
    dest = await mx("greylisting.test", replies={"bob": greylist(2)})
    before = await signer.ingress[0].metric("jetpost_dkim_signed_total")

    await signer.submit("ann@home.test", ["bob@greylisting.test"], LETTER)

    message = await dest.received("bob@greylisting.test")
    assert verified(message) == [True, True]
    assert await signer.ingress[0].metric("jetpost_dkim_signed_total") == before + 1


async def test_a_smart_host_changes_nothing(signer: System, mx: MakeMx) -> None:
    upstream = await mx("upstream.test", extensions=SEVEN_BIT)

    await signer.submit("ann@home.test", ["bob@routed.test"], AWKWARD, " BODY=8BITMIME")

    assert verified(await upstream.received("bob@routed.test")) == [True, True]


async def test_what_a_submission_lacked_is_signed(signer: System, mx: MakeMx) -> None:
    dest = await mx("fixed-and-signed.test")

    await signer.submit("ann@home.test", ["bob@fixed-and-signed.test"], b"From: ann@home.test\r\n\r\nx\r\n")

    message = await dest.received("bob@fixed-and-signed.test")
    assert verified(message) == [True, True]
    changed = message.content.replace(b"\r\nDate: ", b"\r\nX-Date: ")
    assert changed != message.content
    assert verdicts(changed, PUBLISHED) == [False, False]


async def test_a_dsn_verifies(signer: System, mx: MakeMx) -> None:
    await mx("refusing-signed.test", replies={"bob": "550 5.1.1 no such user"})
    home = await mx("home.test")
    contents = [AWKWARD, CONTENTS["by reference"], CONTENTS["utf-8 header"]]

    for number, content in enumerate(contents):
        await signer.submit(f"ann{number}@home.test", ["bob@refusing-signed.test"], content, " BODY=8BITMIME")
        dsn = await home.received(f"ann{number}@home.test")
        assert dsn.delivery_status("bob@refusing-signed.test")["Status"] == "5.1.1"
        assert verified(dsn) == [True, True]
        assert all("d=jetpost.test" in field for field in dsn.fields("DKIM-Signature"))


async def test_mail_that_anybody_may_hand_in_is_not_signed(signer: System, mx: MakeMx) -> None:
    """Whoever writes to a domain of ours with our name in From would get it signed by us."""
    ours = await mx("ours.test")

    for source, expected in (("127.0.0.77", []), ("127.0.0.1", [True, True])):
        async with signer.relaying(source=source) as client:
            to = f"from{source}@ours.test"
            assert (await client.transact("ann@home.test", [to], stuffed(LETTER))).code == 250
        assert verified(await ours.received(to)) == expected


async def test_a_message_of_another_domain_is_not_signed(signer: System, mx: MakeMx) -> None:
    dest = await mx("unsigned.test")
    before = await signer.ingress[0].metric("jetpost_dkim_unsigned_total", reason="key")

    await signer.submit("ann@home.test", ["bob@unsigned.test"], b"From: ann@elsewhere.test\r\n\r\nx\r\n")

    assert verified(await dest.received("bob@unsigned.test")) == []
    assert await signer.ingress[0].metric("jetpost_dkim_unsigned_total", reason="key") == before + 1


AUTHORS = {
    b"From: ann@home.test, bob@home.test": 2,
    b'From: "z@elsewhere.test" <ann@home.test>': 2,
    b"From: Us: ann@home.test;": 2,
    b"From: ann@home.test, z@elsewhere.test": 0,
    b"From: <ann@home.test><z@elsewhere.test>": 0,
    b"From: ann@home.test (": 0,
    b"From: ann@home.test" + b" " * 900 + b"x": 0,
    b"From: ann@home.test\r\nFrom: z@elsewhere.test": 0,
    b"Resent-From: ann@home.test": 0,
    b"From: ": 0,
}
"""How many signatures a message gets with these fields."""


async def test_only_a_message_with_one_author_domain_is_signed(signer: System, mx: MakeMx) -> None:
    dest = await mx("authors.test")
    found = {}

    for number, field in enumerate(AUTHORS):
        reply = await signer.submit("ann@home.test", [f"{number}@authors.test"], field + b"\r\n\r\nx\r\n")
        assert reply.code == 250, (field, reply)
        found[field] = verified(await dest.received(f"{number}@authors.test"))

    assert found == {field: [True] * count for field, count in AUTHORS.items()}


async def test_a_changed_key_signs_without_a_restart_and_a_broken_one_never(
    make_system: MakeSystem, mx: MakeMx, tmp_path: Path
) -> None:
    system = await make_system(signing(tmp_path))
    dest, ingress, file = await mx("renewing.test"), system.ingress[0], tmp_path / "e"

    async def verdicts_of(to: str) -> list[bool]:
        await system.submit("ann@home.test", [f"{to}@renewing.test"], LETTER)
        return verified(await dest.received(f"{to}@renewing.test"))

    async def unusable(expected: float) -> bool:
        return await ingress.metric("jetpost_dkim_key_unusable", file=str(file)) == expected

    file.write_bytes(ed25519_pem()[:40])
    await eventually_asked(lambda: unusable(1), "the broken key is noticed")
    assert (await system.told(ingress, "cannot use DKIM key, keeping previous"))["file"] == str(file)
    assert await verdicts_of("broken") == [True, True]

    file.unlink()
    assert await verdicts_of("gone") == [True, True]
    assert await unusable(1)

    file.write_bytes(ed25519_pem(1))
    await eventually_asked(lambda: unusable(0), "the new key is read")
    assert await verdicts_of("another") == [True, False]

    file.write_bytes(ed25519_pem())
    await eventually_asked(lambda: read_twice(system), "the first key is read again")
    assert await verdicts_of("first") == [True, True]


async def read_twice(system: System) -> bool:
    lines = system.ingress[0].log_lines()
    return len([line for line in lines if line["event"] == "DKIM key read"]) == 2
