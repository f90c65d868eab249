"""A real Exim and a real OpenSMTPD take mail: as smart hosts, with AUTH over verified TLS and without, and as MX."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MakeMx, MakeSystem
from tests.end_to_end.conftest import public_folder
from tests.end_to_end.other_peers import PASSWORD, USER, Exim, OpenSmtpd, Peer
from tests.fixtures.certificates import Certificates
from tests.fixtures.configuration import Surroundings
from tests.fixtures.eventually import eventually
from tests.fixtures.letters import LETTER
from tests.fixtures.system import System
from tests.fixtures.zone import ServedZone

KINDS: tuple[type[Peer], ...] = (Exim, OpenSmtpd)
TO = [f"u{number}@anywhere.test" for number in range(5)]
"""More than the peers take in one transaction."""
CONTENT = "Subject: grüße\r\n\r\nétrange\r\n.\r\n".encode()


@pytest.fixture
def tree() -> Path:
    """The folder with their packages."""
    folder = os.environ.get("PEERS")
    if folder is None:
        pytest.skip("needs packages in the folder $PEERS; tests/end_to_end/peers/build extracts them")
    if os.geteuid() != 0:
        pytest.skip("they must be started by root")
    return Path(folder).resolve()


@contextmanager
def running(kind: type[Peer], tree: Path, names: ServedZone, tmp_path: Path, *, port: int = 0) -> Iterator[Peer]:
    """A peer whose certificate has its domain, which is its name as well."""
    certificates = Certificates(tmp_path, f"{kind.name}.test")
    with public_folder(f"jp-{kind.name}-") as folder, kind(tree, folder, certificates, port=port) as peer:
        names.add(peer.domain, a=[peer.address], mx=[(10, peer.domain)])
        try:
            yield peer
        finally:
            names.remove(peer.domain)


def route(peer: Peer, name: str, *domains: str, **action: Any) -> dict[str, Any]:
    """Mail for `domains`, or all, goes to the peer."""
    hosts = [{"host": peer.domain, "port": peer.port}]
    return {"name": name, "match": {"recipients": domains}, "action": {"kind": "hosts", "hosts": hosts, **action}}


def authenticated(peer: Peer, tmp_path: Path, mechanism: str, password: str = PASSWORD) -> dict[str, Any]:
    """Configuration: all mail goes to the peer with AUTH and verified TLS."""
    (file := tmp_path / "password").write_text(password)
    auth = {"user": USER, "password_file": str(file), "mechanisms": [mechanism]}
    return {"delivery.routes": [route(peer, "upstream", ca_file=str(tmp_path / "ca.pem"), auth=auth)]}


async def taken(peer: Peer, count: int) -> list[bytes]:
    """The messages, once there are so many."""
    await eventually(lambda: len(peer.messages) >= count, f"{peer.domain} has {count} messages")
    return peer.messages


def lines(system: System, event: str) -> list[dict[str, Any]]:
    """What delivery has logged of this kind."""
    return [line for service in system.delivery for line in service.log_lines() if line["event"] == event]


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
async def test_an_exim_that_asks_for_auth_gets_every_message_once(
    make_system: MakeSystem, names: ServedZone, tree: Path, tmp_path: Path, mechanism: str
) -> None:
    with running(Exim, tree, names, tmp_path) as peer:
        system = await make_system(authenticated(peer, tmp_path, mechanism))
        await eventually(lambda: peer.is_listening, f"{peer.domain} listens")

        await system.submit("ann@home.test", TO, LETTER)
        await system.submit("ann@home.test", ["carl@elsewhere.test"], LETTER)

        await system.empty()
        messages = await taken(peer, len(TO) + 1)

    assert len(messages) == len(TO) + 1
    assert all(b"with esmtpsa" in message for message in messages)
    delivered = lines(system, "delivered")
    assert len(delivered) == len(TO) + 1
    assert {line["attempt"] for line in delivered} == {1}


async def test_an_exim_that_refuses_the_password_gets_the_mail_with_the_right_one(
    make_system: MakeSystem, names: ServedZone, tree: Path, tmp_path: Path
) -> None:
    with running(Exim, tree, names, tmp_path) as peer:
        system = await make_system(authenticated(peer, tmp_path, "PLAIN", "wrong"))
        await eventually(lambda: peer.is_listening, f"{peer.domain} listens")
        await system.submit("ann@home.test", ["bob@anywhere.test"], LETTER)
        await eventually(lambda: lines(system, "credentials refused"), "the password is refused")

        (tmp_path / "password").write_text(PASSWORD)

        assert len(await taken(peer, 1)) == 1
        await system.empty()
    assert "said at auth: 535" in lines(system, "deferred")[0]["why"]


async def test_an_opensmtpd_without_working_tls_gets_mail_only_by_a_route_that_asks_for_none(
    make_system: MakeSystem, names: ServedZone, tree: Path, tmp_path: Path
) -> None:
    """It says 451 to recipients beyond its limit, where RFC 5321 has 452: they follow in the same attempt."""
    with running(OpenSmtpd, tree, names, tmp_path) as peer:
        strict = route(peer, "strict", "strict.test", verify=False)
        system = await make_system({"delivery.routes": [strict, route(peer, "plain", tls="none")]})
        await eventually(lambda: peer.is_listening, f"{peer.domain} listens")

        await system.submit("ann@home.test", TO, LETTER)
        await system.submit("ann@home.test", ["bob@strict.test"], LETTER)

        assert len(await taken(peer, len(TO))) == len(TO)
        (why,) = {line["why"] for line in await eventually(lambda: lines(system, "deferred"), "strict mail waits")}
        assert "TLS failed" in why
        assert not any(b"strict.test" in message for message in peer.messages)
    assert {line["attempt"] for line in lines(system, "delivered")} == {1}


@pytest.mark.parametrize("kind", KINDS)
async def test_an_mx_takes_its_users_mail_and_refuses_that_of_others(
    make_system: MakeSystem,
    mx: MakeMx,
    names: ServedZone,
    surroundings: Surroundings,
    tree: Path,
    tmp_path: Path,
    kind: type[Peer],
) -> None:
    home = await mx(f"author-of-{kind.name}.test")
    author = home.name.replace("mx1.", "ann@")
    with running(kind, tree, names, tmp_path, port=surroundings.mx_port) as peer:
        system = await make_system()
        await eventually(lambda: peer.is_listening, f"{peer.domain} listens")
        users = [f"{name}@{peer.domain}" for name in ("bob", "nobody-here", "carl")]

        await system.submit(author, users, CONTENT, " BODY=8BITMIME")

        dsn = await home.received(author)
        await system.empty()
        messages = await taken(peer, 2)
        without_tls = await system.delivery[0].metric("jetpost_delivery_tls_failures_total")

    assert len(messages) == 2
    assert all(message.endswith(CONTENT.replace(b"\r\n", b"\n")) for message in messages)
    assert dsn.delivery_status(users[1])["Action"] == "failed"
    assert dsn.delivery_status(users[1])["Remote-MTA"] == f"dns; {peer.domain}"
    if kind is Exim:
        assert all(b"with esmtps" in message for message in messages)
    else:
        assert without_tls
