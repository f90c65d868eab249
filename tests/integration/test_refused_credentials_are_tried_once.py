"""Connections that were being made when a host refused their credentials do not try them again."""

import asyncio
from pathlib import Path

import pytest

from delivery.attempt.config import AttemptSettings
from delivery.classify.phases import Phase
from delivery.connect.auth.logins import Logins
from delivery.connect.connection import Connection
from delivery.connect.opening import Refusal, opened
from delivery.connect.pool import Pool
from delivery.route.endpoint import ConnectionTerms, Endpoint, Login
from delivery.security.requirement import TlsMode
from tests.fixtures.addresses import loopback_address
from tests.fixtures.mx import Mx
from tests.fixtures.mx_script import Script

PATIENCE_S = 10.0


def endpoint(host: Mx, login: Login) -> Endpoint:
    return Endpoint("smart.test", host.address, host.port, ConnectionTerms(tls=TlsMode.NONE, login=login))


async def connected(host: Mx, login: Login) -> Connection:
    until = asyncio.get_running_loop().time() + PATIENCE_S
    return await opened(endpoint(host, login), "jetpost.test", AttemptSettings(), until=until)


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("accepted_before", [False, True])
async def test_one_of_many_connections_tries_them(tmp_path: Path, at_once: bool, accepted_before: bool) -> None:
    file = tmp_path / "password"
    file.write_text("right\n")
    login = Login("upstream", "jet", str(file), without_tls=True)
    script = Script(users={"jet": "right"})
    async with Mx("smart.test", loopback_address(), script=script) as host:
        logins = Logins(pause_s=300, token_s=30)
        if accepted_before:
            connection = await connected(host, login)
            await logins.authenticate(connection, login, PATIENCE_S, known=logins.insist(login))
            connection.abort()
        file.write_text("wrong, and of another length\n")
        # All are let through, and connected, before anybody knows.
        known = [logins.insist(login) for _ in range(5)]
        connections = [await connected(host, login) for _ in known]
        before = host.heard["AUTH"]

        async def refusal(connection: Connection, number: int) -> Refusal:
            with pytest.raises(Refusal) as told:
                await logins.authenticate(connection, login, PATIENCE_S, known=known[number])
            return told.value

        tries = [refusal(connection, number) for number, connection in enumerate(connections)]
        told = await asyncio.gather(*tries) if at_once else [await it for it in tries]

        assert [it.phase for it in told] == [Phase.AUTH] * 5
        assert all("535" in str(it.answer) for it in told)
        # Those that were accepted before may be under way together; one after the other, only the first asks.
        assert host.heard["AUTH"] - before == (5 if at_once and accepted_before else 1)
        for connection in connections:
            connection.abort()


async def test_connections_that_wait_for_their_turn_do_not_ask_a_host_that_has_said_not_now(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("right\n")
    login = Login("upstream", "jet", str(file), without_tls=True)
    script = Script(users={"jet": "right"}, replies={"AUTH": ("454 4.7.0 Too many login attempts",)})
    async with Mx("smart.test", loopback_address(), script=script) as host:
        logins = Logins(pause_s=300, token_s=30)
        connections = [await connected(host, login) for _ in range(5)]

        async def refusal(connection: Connection) -> Refusal:
            with pytest.raises(Refusal) as told:
                await logins.authenticate(connection, login, PATIENCE_S, known=None)
            return told.value

        told = await asyncio.gather(*(refusal(connection) for connection in connections))
        assert all("454" in str(it.answer) for it in told)
        assert host.heard["AUTH"] == 1

        for connection in connections:  # what comes later asks again
            await logins.authenticate(connection, login, PATIENCE_S, known=None)
            connection.abort()
        assert host.heard["AUTH"] == 6


async def test_a_host_that_cannot_be_reached_does_not_keep_mended_credentials_from_it(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("wrong\n")
    login = Login("upstream", "jet", str(file), without_tls=True)
    script = Script(users={"jet": "right"})
    until = asyncio.get_running_loop().time() + PATIENCE_S
    pool = Pool(AttemptSettings(), "jetpost.test", most=10)
    try:
        async with Mx("smart.test", loopback_address(), script=script) as host:
            place = endpoint(host, login)
            with pytest.raises(Refusal, match="535"):
                await pool.connection(place, until=until)
        file.write_text("right, and of another length\n")
        script.users["jet"] = "right, and of another length"
        with pytest.raises(Refusal, match="Connection refused"):
            await pool.connection(place, until=until)
        async with Mx("smart.test", host.address, host.port, script=script):
            pool.drop(await pool.connection(place, until=until))
    finally:
        await pool.aclose()
