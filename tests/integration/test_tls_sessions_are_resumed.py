"""TLS sessions are resumed where TLS is opportunistic, and never where a connection asks anything of TLS."""

import ssl
from pathlib import Path

import pytest

from delivery.attempt.config import AttemptSettings
from delivery.connect.pool import Pool
from delivery.route.endpoint import ConnectionTerms, Login
from delivery.security.requirement import TlsMode
from jetpost.mail.content import Inline
from jetpost.mail.outcome import Delivered
from tests.fixtures.attempts import BOB, entry, tried_with
from tests.fixtures.certificates import Certificates
from tests.fixtures.letters import LETTER
from tests.fixtures.mx import Mx
from tests.fixtures.mx_script import Script
from tests.fixtures.raw_host import Dialogue, RawHost

SETTINGS = AttemptSettings(idle_s=0)
"""Each message has a connection of its own."""


async def delivered(pool: Pool, host: Mx | RawHost, terms: ConnectionTerms | None = None, *, times: int) -> None:
    """Send so many messages, one after the other."""
    for _ in range(times):
        made = await tried_with(pool, [host], entry(Inline(LETTER)), SETTINGS, terms)
        assert isinstance(made.outcomes[BOB], Delivered)


async def test_the_next_connection_resumes_the_session_of_the_last(certificates: Certificates) -> None:
    pool = Pool(SETTINGS, "jetpost.test", most=10)
    async with (
        Mx("mx1.test", script=Script(tls=certificates.server())) as host,
        Mx("mx2.test", script=Script(tls=certificates.server())) as other,
    ):
        await delivered(pool, host, times=3)
        await delivered(pool, other, times=1)
    await pool.aclose()
    assert (host.connections, host.resumed, other.resumed) == (3, 2, 0)
    assert all(message.tls.startswith("TLSv1.3") for message in host.messages)


async def test_a_host_that_forgot_the_session_gets_a_new_one(certificates: Certificates) -> None:
    pool = Pool(SETTINGS, "jetpost.test", most=10)
    async with Mx("mx1.test", script=Script(tls=certificates.server())) as host:
        await delivered(pool, host, times=1)
        host.script.tls = certificates.server()
        await delivered(pool, host, times=2)
    await pool.aclose()
    assert host.resumed == 1
    assert all(message.tls for message in host.messages)


async def test_sessions_of_tls_1_2_are_not_resumed(certificates: Certificates) -> None:
    context = certificates.server()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    pool = Pool(SETTINGS, "jetpost.test", most=10)
    async with Mx("mx1.test", script=Script(tls=context)) as host:
        await delivered(pool, host, times=2)
    await pool.aclose()
    assert host.resumed == 0
    assert all(message.tls.startswith("TLSv1.2") for message in host.messages)


@pytest.mark.parametrize("kind", ["verified", "required", "login", "verified and login"])
async def test_who_asks_anything_of_tls_never_resumes(certificates: Certificates, tmp_path: Path, kind: str) -> None:
    password = tmp_path / "password"
    password.write_text("secret")
    login = Login("upstream", "ann", str(password)) if "login" in kind else None
    tls = TlsMode.OPPORTUNISTIC if kind == "login" else TlsMode.REQUIRED
    terms = ConnectionTerms(tls=tls, verified=str(certificates.ca_file) if "verified" in kind else "", login=login)
    users = {"ann": "secret"} if login else {}
    pool = Pool(SETTINGS, "jetpost.test", most=10)
    async with Mx("localhost", script=Script(tls=certificates.server(), users=users)) as host:
        await delivered(pool, host, terms, times=2)
        host.script.users = {}
        await delivered(pool, host, times=2)  # the usual terms resume their own sessions, and only these
        await delivered(pool, host, terms._replace(login=None, tls=TlsMode.REQUIRED), times=1)
    await pool.aclose()
    assert (host.connections, host.resumed) == (5, 1)


async def test_a_host_that_fails_with_a_session_gets_the_mail_over_tls_without_it(certificates: Certificates) -> None:
    """TLS that fails leads to mail in clear. That a session is offered must not."""

    async def leave_when_resumed(dialogue: Dialogue) -> None:
        if dialogue.writer.get_extra_info("ssl_object").session_reused:
            raise ConnectionAbortedError

    pool = Pool(SETTINGS, "jetpost.test", most=10)
    async with RawHost("mx1.test", tls=certificates.server(), does={"SECURED": leave_when_resumed}) as host:
        await delivered(pool, host, times=2)
    await pool.aclose()
    assert (len(host.copies), host.in_clear, host.connections) == (2, 0, 3)
