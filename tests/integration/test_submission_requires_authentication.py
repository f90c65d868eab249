"""AUTH over TLS opens the submission ports; nothing else does (RFC 6409, RFC 8314, RFC 4954)."""

import base64
from pathlib import Path

import pytest

from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.client import RawClient, dialled
from tests.fixtures.letters import LETTER
from tests.fixtures.system import System
from tests.fixtures.users import PASSWORD, USER, write_quick_users


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


async def _cannot_send(client: RawClient) -> None:
    reply = await client.transact("ann@home.test", ["bob@dest.test"], LETTER)
    assert reply.code == 530
    assert str(reply.status) == "5.7.0"


async def test_465_takes_mail_after_auth(system: System, mx: MakeMx) -> None:
    dest = await mx("via-465.test")
    context = system.surroundings.certificates.client()

    async with dialled("127.0.0.1", system.ports.submissions, context) as client:
        ehlo = await client.say("EHLO client.test")
        assert any(line.startswith("AUTH PLAIN LOGIN") for line in ehlo.text)
        await _cannot_send(client)
        assert (await client.authenticate(USER, PASSWORD)).code == 235
        assert (await client.transact("ann@home.test", ["bob@via-465.test"], LETTER)).code == 250

    assert "with ESMTPSA" in (await dest.received("bob@via-465.test")).fields("Received")[0]


async def test_587_takes_mail_after_starttls_and_auth(system: System, mx: MakeMx) -> None:
    dest = await mx("via-587.test")

    async with dialled("127.0.0.1", system.ports.submission) as client:
        ehlo = await client.say("EHLO client.test")
        assert not any(line.startswith("AUTH") for line in ehlo.text)
        assert (await client.authenticate(USER, PASSWORD)).code == 538
        await client.starttls(system.surroundings.certificates.client())
        await client.say("EHLO client.test")
        await _cannot_send(client)
        assert (await client.authenticate(USER, PASSWORD)).code == 235
        assert (await client.transact("ann@home.test", ["bob@via-587.test"], LETTER)).code == 250

    assert "with ESMTPSA" in (await dest.received("bob@via-587.test")).fields("Received")[0]


async def test_auth_login_works_too(system: System) -> None:
    context = system.surroundings.certificates.client()
    async with dialled("127.0.0.1", system.ports.submissions, context) as client:
        await client.say("EHLO client.test")
        assert (await client.say("AUTH LOGIN")).code == 334
        assert (await client.say(_base64(USER))).code == 334
        assert (await client.say(_base64(PASSWORD))).code == 235
        assert (await client.say("AUTH LOGIN")).code == 503  # once a session (RFC 4954, 4)


async def test_a_wrong_password_is_refused_and_changes_nothing(system: System) -> None:
    context = system.surroundings.certificates.client()
    async with dialled("127.0.0.1", system.ports.submissions, context) as client:
        await client.say("EHLO client.test")
        for user, password in ((USER, "wrong"), ("nobody", PASSWORD), (USER, "")):
            reply = await client.authenticate(user, password)
            assert (reply.code, str(reply.status)) == (535, "5.7.8")
        await _cannot_send(client)


async def test_an_exchange_can_be_cancelled(system: System) -> None:
    context = system.surroundings.certificates.client()
    async with dialled("127.0.0.1", system.ports.submissions, context) as client:
        await client.say("EHLO client.test")
        await client.say("AUTH PLAIN")
        assert (await client.say("*")).code == 501
        assert (await client.authenticate(USER, PASSWORD)).code == 235


@pytest.mark.parametrize(
    ("line", "responses", "told"),
    [
        ("AUTH", [], (501, "5.5.4")),
        ("AUTH CRAM-MD5", [], (504, "5.5.4")),
        ("AUTH PLAIN =", [], (501, "5.5.2")),
        ("AUTH PLAIN not!base64", [], (501, "5.5.2")),
        ("AUTH PLAIN AGFubgB4 AGFubgB4", [], (501, "5.5.2")),
        ("AUTH PLAIN", ["AGFubgB4\0"], (501, "5.5.2")),
        ("AUTH PLAIN", ["AGFubgB4\n"], (501, "5.5.2")),
        ("AUTH PLAIN", ["=" * 12_300], (500, "5.5.6")),
        ("AUTH PLAIN", ["*"], (501, "5.7.0")),
        ("AUTH LOGIN", ["*"], (501, "5.7.0")),
        ("AUTH LOGIN =", ["x"], (501, "5.5.2")),
        ("AUTH LOGIN YW5u", ["=" * 12_300], (500, "5.5.6")),
        ("AUTH PLAIN " + "A" * 12_300, [], (500, "5.5.2")),
    ],
)
async def test_an_exchange_that_makes_no_sense_has_its_reply(
    system: System, line: str, responses: list[str], told: tuple[int, str]
) -> None:
    """RFC 4954, 4 and 6."""
    context = system.surroundings.certificates.client()
    async with dialled("127.0.0.1", system.ports.submissions, context) as client:
        await client.say("EHLO client.test")
        reply = await client.say(line)
        for response in responses:
            assert reply.code == 334
            reply = await client.say(response)
        assert (reply.code, str(reply.status)) == told
        assert (await client.authenticate(USER, PASSWORD)).code == 235


async def test_while_the_users_cannot_be_read_nobody_is_wrong(make_system: MakeSystem, tmp_path: Path) -> None:
    """Neither does the session end, as it would after a wrong password here."""
    file = write_quick_users(tmp_path / "users")
    backends = [{"kind": "users_file", "path": str(file)}]
    system = await make_system({"ingress.auth.backends": backends, "ingress.limits.auth_failures": 1})
    aside = move(file, tmp_path / "aside")

    async with dialled("127.0.0.1", system.ports.submissions, system.surroundings.certificates.client()) as client:
        await client.say("EHLO client.test")
        for _ in range(3):
            reply = await client.authenticate(USER, PASSWORD)
            assert (reply.code, str(reply.status)) == (454, "4.7.0")
        move(aside, file)
        assert (await client.authenticate(USER, PASSWORD)).code == 235


def move(file: Path, to: Path) -> Path:
    return file.rename(to)
