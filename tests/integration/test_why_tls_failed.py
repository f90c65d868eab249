"""A certificate that does not verify says why: to hosts of routes, to token issuers, to NATS."""

import asyncio
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme

from delivery.attempt.config import AttemptSettings
from delivery.connect.pool import Pool
from delivery.route.endpoint import ConnectionTerms
from delivery.security.requirement import TlsMode
from jetpost.jetstream.nats_client import refusal
from jetpost.mail.content import Inline
from jetpost.mail.outcome import Deferred
from tests.fixtures.addresses import loopback_address
from tests.fixtures.attempts import entry, tried_with
from tests.fixtures.mx import Mx
from tests.fixtures.mx_script import Script

NAME = "smart.test"
LETTER = b"Subject: x\r\n\r\nHello.\r\n"
HINT = "if you trust its CA, set `ca_file`"


class Served(NamedTuple):
    """What a host shows, and the CA that the route trusts."""

    chain: bytes
    key: bytes
    trusted: bytes


def issued(*names: str, expired: bool = False, trusted: bool = True) -> Served:
    ca = trustme.CA()
    certificate = ca.issue_cert(*names, not_after=datetime.now(UTC) - timedelta(days=1) if expired else None)
    chain = b"".join(pem.bytes() for pem in certificate.cert_chain_pems)
    return Served(chain, certificate.private_key_pem.bytes(), (ca if trusted else trustme.CA()).cert_pem.bytes())


def self_signed() -> Served:
    ca = trustme.CA()
    return Served(ca.cert_pem.bytes(), ca.private_key_pem.bytes(), trustme.CA().cert_pem.bytes())


MANY = [f"mx{number}.other.test" for number in range(300)]
CASES: dict[str, tuple[Callable[[], Served], tuple[str, ...]]] = {
    "self-signed": (self_signed, ("CERTIFICATE_VERIFY_FAILED: self-signed certificate", HINT)),
    "other CA": (lambda: issued(NAME, trusted=False), ("unable to get local issuer certificate", HINT)),
    "expired": (lambda: issued(NAME, expired=True), ("certificate has expired",)),
    "other name": (
        lambda: issued("other.test", "127.9.9.9"),
        (f"Hostname mismatch, certificate is not valid for '{NAME}', but for other.test, 127.9.9.9",),
    ),
    "many names": (lambda: issued(*MANY), (f"but for {', '.join(MANY[:4])} and 296 more",)),
    "long names": (lambda: issued(".".join(["a" * 60] * 4)), ("a" * 60 + "." + "a" * 19,)),
}


@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "implicit"])
@pytest.mark.parametrize("case", CASES)
async def test_a_host_of_a_route(tmp_path: Path, case: str, *, implicit: bool) -> None:
    make, expected = CASES[case]
    served = make()
    terms = ConnectionTerms(tls=TlsMode.REQUIRED, implicit=implicit, verified=written(tmp_path, served.trusted))
    script = Script(tls=server(tmp_path, served), implicit=implicit)
    pool = Pool(AttemptSettings(idle_s=60), "jetpost.test", most=10)
    async with Mx(NAME, loopback_address(), script=script) as host:
        (outcome,) = (await tried_with(pool, [host], entry(Inline(LETTER)), terms=terms)).outcomes.values()
    await pool.aclose()
    assert isinstance(outcome, Deferred)
    assert all(text in outcome.why for text in expected), outcome.why
    assert (HINT in outcome.why) == (HINT in expected)
    assert len(outcome.why) < 300


@pytest.mark.parametrize("case", CASES)
async def test_nats(tmp_path: Path, case: str) -> None:
    make, expected = CASES[case]
    served = make()
    listener = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=server(tmp_path, served))
    context = ssl.create_default_context(cafile=written(tmp_path, served.trusted))
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        with pytest.raises(ssl.SSLCertVerificationError) as failed:
            await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=NAME)
    assert (HINT in refusal(failed.value)) == (HINT in expected)


def written(folder: Path, pem: bytes) -> str:
    file = folder / "trusted.pem"
    file.write_bytes(pem)
    return str(file)


def server(folder: Path, served: Served) -> ssl.SSLContext:
    file = folder / "server.pem"
    file.write_bytes(served.chain + served.key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)
    return context
