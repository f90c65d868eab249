"""Access tokens from an issuer: one request for all sessions, renewed ahead of their end, and what happens without."""

import asyncio
import os
import random
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from delivery.attempt.config import AttemptSettings
from delivery.classify.phases import Phase
from delivery.connect.auth.logins import REFUSED
from delivery.connect.auth.oauth.tokens import FAILING, NoToken, Tokens
from delivery.connect.connection import Connection
from delivery.connect.opening import Refusal
from delivery.connect.pool import Pool
from delivery.route.endpoint import ConnectionTerms, Endpoint, Grant, Login, TokenSource
from delivery.security.requirement import TlsMode
from tests.fixtures.addresses import loopback_address
from tests.fixtures.certificates import Certificates
from tests.fixtures.eventually import eventually, eventually_asked
from tests.fixtures.issuer import TokenIssuer
from tests.fixtures.mx import Mx
from tests.fixtures.mx_script import Script

SECRET = "s3cr:t of the/client+"
PATIENCE_S = 60.0


@pytest.fixture(autouse=True)
def fresh_gauges() -> None:
    """Those of a process that has just begun."""
    REFUSED.clear()
    FAILING.clear()


def secret_file(folder: Path, text: str = SECRET) -> Path:
    file = folder / "client-secret"
    file.write_text(f"{text}\n")
    return file


def issuer_for(**script: object) -> TokenIssuer:
    return TokenIssuer(clients={"app": SECRET}, tokens={"jet": ""}, **script)  # type: ignore[arg-type]


def source(issuer: TokenIssuer, file: Path, **changes: Any) -> TokenSource:
    usual = TokenSource(Grant.CLIENT_CREDENTIALS, issuer.url, "", client_id="app", client_secret_file=str(file))
    return usual._replace(**changes)


def login_by(tokens: TokenSource, name: str = "upstream") -> Login:
    return Login(name, "jet", "", ("XOAUTH2", "OAUTHBEARER"), without_tls=True, tokens=tokens)


def pool_with(pause_s: float = 300) -> Pool:
    settings = AttemptSettings.model_validate({"auth_retry_s": pause_s, "timeouts": {"token_s": 5}})
    return Pool(settings, "jetpost.test", 1000)


def endpoint(host: Mx, login: Login) -> Endpoint:
    return Endpoint("smart.test", host.address, host.port, ConnectionTerms(tls=TlsMode.NONE, login=login))


async def connected(pool: Pool, host: Mx, login: Login) -> Connection:
    until = asyncio.get_running_loop().time() + PATIENCE_S
    return await pool.connection(endpoint(host, login), until=until, fresh=True)


async def refused(pool: Pool, host: Mx, login: Login) -> str:
    with pytest.raises(Refusal) as told:
        await connected(pool, host, login)
    assert told.value.phase is Phase.AUTH
    assert SECRET not in str(told.value)
    return str(told.value)


def host_with(issuer: TokenIssuer, *mechanisms: str) -> Mx:
    """It accepts the last token of each user."""
    script = Script(users=issuer.tokens, mechanisms=mechanisms or ("PLAIN", "XOAUTH2"))
    return Mx("smart.test", loopback_address(), script=script)


def shown(name: str, issuer: TokenIssuer) -> tuple[float, float]:
    return REFUSED.labels(name)._value.get(), FAILING.labels(name, issuer.host)._value.get()


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
async def test_fifty_sessions_of_two_routes_need_one_token(tmp_path: Path, mechanism: str) -> None:
    file = secret_file(tmp_path)
    async with issuer_for(token_chars=2500) as issuer, host_with(issuer, mechanism) as host:
        issuer.gate.clear()
        pool, tokens = pool_with(), source(issuer, file)
        sessions = [
            asyncio.create_task(connected(pool, host, login_by(tokens, name)))
            for name in ("one", "two")
            for _ in range(25)
        ]
        await eventually(lambda: issuer.asked, "the issuer was asked")
        assert host.connections == 0  # no host waits for an issuer
        issuer.gate.set()
        connections = await asyncio.gather(*sessions)
        for connection in connections:
            connection.abort()
        await pool.aclose()
        assert issuer.asked == [{"grant_type": "client_credentials"}]
        assert host.heard["AUTH"] == 50


async def test_a_token_is_renewed_ahead_of_its_end_while_it_is_used(tmp_path: Path) -> None:
    file = secret_file(tmp_path)
    async with issuer_for(life_s=1.5) as issuer:
        tokens, until = Tokens(5, 300), asyncio.get_running_loop().time() + PATIENCE_S
        first = await tokens.token(source(issuer, file), "upstream", until)
        issuer.gate.clear()
        await eventually(lambda: len(issuer.asked) == 2, "it is renewed though nobody asks")
        assert asyncio.get_running_loop().time() < first.ends + PATIENCE_S
        issuer.gate.set()
        second = await eventually(lambda: issuer.issued[1:], "it is renewed")
        used = await tokens.token(source(issuer, file), "upstream", until)
        assert used.text == second[0]
        await tokens.aclose()


async def test_a_living_token_is_used_while_the_issuer_is_away(tmp_path: Path) -> None:
    file = secret_file(tmp_path)
    async with issuer_for() as issuer, host_with(issuer) as host:
        pool, login = pool_with(0.1), login_by(source(issuer, file))
        (await connected(pool, host, login)).abort()
        await issuer.stop()
        os.utime(file, (1, 1))  # a changed file is a reason to ask
        (await connected(pool, host, login)).abort()
        await eventually(lambda: shown("upstream", issuer) == (0, 1), "the failure shows")
        (await connected(pool, host, login)).abort()
        await issuer.start()
        await eventually(lambda: issuer.issued[1:], "it is asked again by itself")
        await eventually(lambda: shown("upstream", issuer) == (0, 0), "the failure is over")
        await pool.aclose()


async def test_an_issuer_that_is_away_is_not_asked_for_each_message(tmp_path: Path) -> None:
    file = secret_file(tmp_path)
    issuer = await issuer_for().start()
    await issuer.stop()
    async with host_with(issuer) as host:
        pool, login = pool_with(), login_by(source(issuer, file))
        told = {await refused(pool, host, login) for _ in range(20)}
        (why,) = told
        assert why.startswith(f"the token issuer {issuer.host} cannot be reached: ")
        assert why.endswith("Connection refused")
        assert shown("upstream", issuer) == (0, 1)
        assert host.connections == 0
        await issuer.start()
        assert await refused(pool, host, login) == why  # it is not asked before its pause is over
        assert issuer.asked == []
        await pool.aclose()
        await issuer.stop()


async def test_an_issuer_that_comes_back_is_asked_after_a_pause(tmp_path: Path) -> None:
    file = secret_file(tmp_path)
    issuer = await issuer_for().start()
    await issuer.stop()
    async with host_with(issuer) as host:
        pool, login = pool_with(0.05), login_by(source(issuer, file))
        await refused(pool, host, login)
        async with issuer:
            connection = await _in_time(pool, host, login)
            connection.abort()
            assert shown("upstream", issuer) == (0, 0)
            await pool.aclose()


async def _in_time(pool: Pool, host: Mx, login: Login) -> Connection:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await connected(pool, host, login)
            except Refusal:
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("endless", [False, True])
async def test_an_issuer_that_does_not_finish_is_given_up(tmp_path: Path, endless: bool) -> None:
    file = secret_file(tmp_path)
    async with issuer_for() as issuer, host_with(issuer) as host:
        if endless:
            issuer.raw = b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 1_000_000
        else:
            issuer.gate.clear()
        settings = AttemptSettings.model_validate({"timeouts": {"token_s": 1 if not endless else 30}})
        pool, login = Pool(settings, "jetpost.test", 10), login_by(source(issuer, file))
        why = await refused(pool, host, login)
        assert ("what comes has no end" if endless else "cannot be reached: no answer within 1 s") in why
        assert shown("upstream", issuer) == (0, 1)
        issuer.gate.set()
        await pool.aclose()


async def test_credentials_that_the_issuer_refuses_count_as_refused_until_their_file_changes(tmp_path: Path) -> None:
    file = secret_file(tmp_path, "a wrong secret")
    async with issuer_for() as issuer, host_with(issuer) as host:
        pool, login = pool_with(), login_by(source(issuer, file, secret_in_body=True))
        for _ in range(10):
            why = await refused(pool, host, login)
        expected = "refuses the credentials: replied 401 invalid_client: client app has another secret than ***"
        assert why == f"the token issuer {issuer.host} {expected}"
        assert shown("upstream", issuer) == (1, 1)
        assert len(issuer.asked) == 1
        assert host.connections == 0
        file.write_text(SECRET)
        (await connected(pool, host, login)).abort()
        assert shown("upstream", issuer) == (0, 0)
        await pool.aclose()


async def test_a_revoked_token_is_replaced_once(tmp_path: Path) -> None:
    file = secret_file(tmp_path)
    async with issuer_for() as issuer, host_with(issuer) as host:
        pool, login = pool_with(), login_by(source(issuer, file))
        logins = [login, login._replace(name="other")]  # two routes
        for each in logins:
            (await connected(pool, host, each)).abort()
        assert len(issuer.issued) == 1
        issuer.tokens["jet"] = "nobody has this"
        for connection in await asyncio.gather(*(connected(pool, host, logins[n % 2]) for n in range(20))):
            connection.abort()
        assert len(issuer.issued) == 2
        assert shown("upstream", issuer) == shown("other", issuer) == (0, 0)
        await pool.aclose()


async def test_a_token_that_is_revoked_while_the_issuer_is_away_is_tried_once(tmp_path: Path) -> None:
    file = secret_file(tmp_path)
    async with issuer_for() as issuer, host_with(issuer) as host:
        pool, login = pool_with(0.05), login_by(source(issuer, file))
        (await connected(pool, host, login)).abort()
        issuer.tokens["jet"] = "nobody has this"
        await issuer.stop()
        told = [await refused(pool, host, login) for _ in range(10)]
        assert {it.partition(" cannot")[0] for it in told} == {f"the token issuer {issuer.host}"}
        assert host.heard["AUTH"] == 2
        assert shown("upstream", issuer) == (0, 1)
        await issuer.start()
        (await _in_time(pool, host, login)).abort()
        assert shown("upstream", issuer) == (0, 0)
        await pool.aclose()


async def test_a_token_that_lives_is_used_while_the_issuer_refuses_to_renew_it(tmp_path: Path) -> None:
    file = secret_file(tmp_path)
    async with issuer_for(life_s=8) as issuer, host_with(issuer) as host:
        pool, login = pool_with(0.2), login_by(source(issuer, file))
        (await connected(pool, host, login)).abort()
        issuer.status = (400, {"error": "invalid_grant", "error_description": "consent was withdrawn"})
        await eventually(lambda: shown("upstream", issuer) == (0, 1), "the alert can fire ahead of time")
        (await connected(pool, host, login)).abort()

        async def none_lives() -> str | None:
            try:
                (await connected(pool, host, login)).abort()
            except Refusal as refusal:
                return str(refusal)
            return None

        why = await eventually_asked(none_lives, "the token has ended")
        assert "refuses the credentials: replied 400 invalid_grant: consent was withdrawn" in why
        assert shown("upstream", issuer) == (1, 1)
        issuer.status = None
        (await _in_time(pool, host, login)).abort()
        assert shown("upstream", issuer) == (0, 0)
        await pool.aclose()


async def test_a_host_that_accepts_and_refuses_in_turn_costs_the_issuer_nothing(tmp_path: Path) -> None:
    file = secret_file(tmp_path)
    async with issuer_for() as issuer, host_with(issuer) as host:
        pool, login = pool_with(), login_by(source(issuer, file))
        host.script.replies["AUTH"] = (*["235 2.7.0 yes", "535 5.7.8 no"] * 30,)
        told = [it for it in [await _tried(pool, host, login) for _ in range(30)] if it]
        assert all(it.startswith("535") for it in told)
        assert len(issuer.asked) == 2
        await pool.aclose()


async def _tried(pool: Pool, host: Mx, login: Login) -> str:
    try:
        (await connected(pool, host, login)).abort()
    except Refusal as refusal:
        return str(refusal)
    return ""


async def test_a_host_that_refuses_every_token_gets_two(tmp_path: Path) -> None:
    file = secret_file(tmp_path)
    async with issuer_for() as issuer, host_with(issuer) as host:
        pool, login = pool_with(), login_by(source(issuer, file))
        host.script.users = {"jet": "another"}
        told = [
            str(it)
            for it in await asyncio.gather(*(connected(pool, host, login) for _ in range(20)), return_exceptions=True)
        ]
        told += [await refused(pool, host, login) for _ in range(20)]
        assert {it[:3] for it in told} == {"535"}
        assert (len(issuer.issued), host.heard["AUTH"]) == (2, 2)
        assert shown("upstream", issuer) == (1, 0)
        await pool.aclose()


@pytest.mark.parametrize("quoted", ["token", "base64"])
async def test_what_a_host_quotes_of_a_token_is_left_out(tmp_path: Path, quoted: str) -> None:
    file = secret_file(tmp_path)
    async with issuer_for() as issuer, host_with(issuer, "XOAUTH2") as host:
        pool, login = pool_with(), login_by(source(issuer, file))
        texts = [f"token-{number}-".ljust(40, "x") for number in (1, 2)]
        if quoted == "base64":
            texts = [b64encode(f"user=jet\1auth=Bearer {text}\1\1".encode()).decode() for text in texts]
        host.script.replies["AUTH"] = tuple(f"535 5.7.8 I do not like {text} at all" for text in texts)
        assert await refused(pool, host, login) == "535 5.7.8 I do not like *** at all"
        await pool.aclose()


async def test_a_process_that_stops_gives_up_the_issuer(tmp_path: Path) -> None:
    file = secret_file(tmp_path)
    async with issuer_for() as issuer, host_with(issuer) as host:
        issuer.gate.clear()
        pool, login = pool_with(), login_by(source(issuer, file))
        waiting = asyncio.create_task(connected(pool, host, login))
        await eventually(lambda: issuer.asked, "the issuer was asked")
        waiting.cancel()
        await asyncio.wait([waiting])
        await pool.aclose()
        assert [task for task in asyncio.all_tasks() if task.get_name() == "access token"] == []
        issuer.gate.set()


async def test_after_the_pause_a_new_token_is_tried(tmp_path: Path) -> None:
    """The rights of an application are in its token: a token from before they were given stays useless."""
    file = secret_file(tmp_path)
    async with issuer_for() as issuer, host_with(issuer) as host:
        pool, login = pool_with(0.05), login_by(source(issuer, file))
        host.script.users = {"jet": "another"}
        await refused(pool, host, login)
        assert len(issuer.issued) == 2
        host.script.users = issuer.tokens
        issuer.tokens["jet"] = "the two before have no rights"
        (await _in_time(pool, host, login)).abort()
        assert len(issuer.issued) == 3
        await pool.aclose()


async def test_a_rotated_refresh_token_is_used_from_then_on(tmp_path: Path) -> None:
    refresh = tmp_path / "refresh"
    refresh.write_text("refresh-0\n")
    issuer = issuer_for(refresh_tokens={"refresh-0": "jet"}, rotates=True, life_s=1)
    issuer.clients[""] = ""
    issuer.clients["app"] = ""
    async with issuer:
        tokens = Tokens(5, 0.05)
        of_user = source(issuer, refresh, grant=Grant.REFRESH, client_secret_file="", refresh_token_file=str(refresh))
        until = asyncio.get_running_loop().time() + PATIENCE_S
        for number in range(1, 4):
            token = await tokens.token(of_user, "upstream", until)
            await eventually(lambda token=token: asyncio.get_running_loop().time() > token.ends, "it ends")  # type: ignore[misc]
            assert len(issuer.issued) >= number
        await tokens.aclose()
        sent = [form["refresh_token"] for form in issuer.asked]
        assert sent == [f"refresh-{number}" for number in range(len(sent))]
        assert len(sent) >= 3

        # A process that starts anew, or another one, has only the file: the issuer refuses what was used.
        with pytest.raises(NoToken, match=r"refuses the credentials: replied 400 invalid_grant") as told:
            await Tokens(5, 300).token(of_user, "upstream", until)
        assert told.value.refused
        # A file that has changed counts again.
        other = Tokens(5, 300)
        with pytest.raises(NoToken):
            await other.token(of_user, "upstream", until)
        issuer.refresh_tokens["refresh-new"] = "jet"
        refresh.write_text("refresh-new\n")
        await other.token(of_user, "upstream", until)
        await other.aclose()


async def test_the_issuer_is_verified(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    file = secret_file(tmp_path)
    (tmp_path / "other").mkdir()
    other = Certificates(tmp_path / "other")
    async with issuer_for(tls=certificates.server(), address="127.0.0.1") as issuer:
        until = asyncio.get_running_loop().time() + PATIENCE_S
        for verified in ("public CAs", str(other.ca_file)):
            with pytest.raises(NoToken, match=r"CERTIFICATE_VERIFY_FAILED: unable to get .* set `ca_file`"):
                await Tokens(5, 300).token(source(issuer, file, verified=verified), "upstream", until)
        assert issuer.asked == []
        tokens = Tokens(5, 300)
        await tokens.token(source(issuer, file, verified=str(certificates.ca_file)), "upstream", until)
        await tokens.aclose()


async def test_an_issuer_that_asks_for_a_pause_has_it(tmp_path: Path) -> None:
    file = secret_file(tmp_path)
    async with issuer_for() as issuer:
        issuer.raw = b"HTTP/1.1 429 X\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n"
        tokens, until = Tokens(5, 1e-6), asyncio.get_running_loop().time() + PATIENCE_S
        for _ in range(20):
            with pytest.raises(NoToken, match="replied 429 without a token"):
                await tokens.token(source(issuer, file), "upstream", until)
        assert len(issuer.asked) == 1
        await tokens.aclose()


async def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    file = secret_file(tmp_path)
    async with issuer_for() as issuer, issuer_for() as elsewhere:
        issuer.raw = f"HTTP/1.1 307 X\r\nLocation: {elsewhere.url}\r\nContent-Length: 0\r\n\r\n".encode()
        with pytest.raises(NoToken, match="replied 307 without a token"):
            await Tokens(5, 300).token(source(issuer, file), "upstream", asyncio.get_running_loop().time() + PATIENCE_S)
        assert elsewhere.asked == []


async def test_a_file_that_is_of_no_use_is_named_and_nobody_is_asked(tmp_path: Path) -> None:
    async with issuer_for() as issuer:
        tokens, until = Tokens(5, 300), asyncio.get_running_loop().time() + PATIENCE_S
        file = tmp_path / "client-secret"
        for content in (None, b"", b"\n", b"\xff\xfe", b"a\0b"):
            if content is not None:
                file.write_bytes(content)
            with pytest.raises(NoToken, match=str(file)) as told:
                await tokens.token(source(issuer, file), "upstream", until)
            assert not told.value.refused
        assert issuer.asked == []
        secret_file(tmp_path)
        await tokens.token(source(issuer, file), "upstream", until)
        await tokens.aclose()


async def test_whatever_issuer_and_host_do_in_whatever_order_it_ends_well(tmp_path: Path) -> None:
    """A walk by chance: nothing but refusals comes of it, no secret is told, and all works again at the end."""
    file = secret_file(tmp_path)
    async with issuer_for(life_s=5) as issuer, host_with(issuer) as host:
        pool = pool_with(0.01)
        logins = [login_by(source(issuer, file), name) for name in ("one", "two")]
        right = issuer.tokens
        changes: list[Callable[[], object]] = [
            lambda: issuer.tokens.update(jet="revoked"),
            lambda: setattr(issuer, "raw", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"),
            lambda: setattr(issuer, "raw", b"220 mx.test ESMTP\r\n"),
            lambda: setattr(issuer, "raw", None),
            lambda: setattr(issuer, "status", (400, {"error": "invalid_grant"})),
            lambda: setattr(issuer, "status", (503, {"error": "temporarily_unavailable"})),
            lambda: setattr(issuer, "status", None),
            lambda: file.write_text("wrong\n"),
            lambda: file.write_text(f"{SECRET}\n"),
            lambda: setattr(host.script, "users", {"jet": "nothing is good enough"}),
            lambda: setattr(host.script, "users", right),
            lambda: host.script.replies.update(AUTH="421 4.3.2 closing"),
            lambda: host.script.replies.pop("AUTH", None),
        ]
        for _ in range(80):
            random.choice(changes)()
            for why in await asyncio.gather(*(_tried(pool, host, random.choice(logins)) for _ in range(4))):
                assert SECRET not in why
                assert not any(token in why for token in issuer.issued)

        issuer.raw = issuer.status = None
        secret_file(tmp_path)
        host.script.users, issuer.tokens["jet"] = right, "revoked"
        host.script.replies.clear()
        for login in logins:
            (await _in_time(pool, host, login)).abort()
            assert shown(login.name, issuer) == (0, 0)
        await pool.aclose()
