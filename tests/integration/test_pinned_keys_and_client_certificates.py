"""A route can pin the keys of its hosts, and show them a certificate; changed files count without a restart."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from delivery.attempt.config import AttemptSettings
from delivery.connect.pool import Pool
from delivery.route.endpoint import ConnectionTerms
from delivery.security.pins import pin_of
from delivery.security.requirement import PUBLIC_CAS, ClientCertificate, TlsMode
from jetpost.mail.content import Inline
from jetpost.mail.outcome import Deferred, Delivered, Outcome
from jetpost.process.tls import EXPIRES
from tests.fixtures.addresses import loopback_address
from tests.fixtures.attempts import entry, tried_with
from tests.fixtures.letters import LETTER
from tests.fixtures.mx import Mx
from tests.fixtures.mx_script import Script

STRICT = ConnectionTerms(tls=TlsMode.REQUIRED)
OTHER = "A" * 43 + "="
ENCRYPTED = serialization.BestAvailableEncryption(b"secret")


class Issued:
    """A CA, and a certificate of it."""

    def __init__(self, *names: str, not_after: datetime | None = None) -> None:
        self.authority = trustme.CA()
        self.certificate = self.authority.issue_cert(*(names or ("smart.test",)), not_after=not_after)

    def server(self, *clients: "Issued") -> ssl.SSLContext:
        """Of a host that has it; it asks for certificates of the `clients`' CAs."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.certificate.configure_cert(context)
        if clients:
            context.verify_mode = ssl.CERT_REQUIRED
        for client in clients:
            client.authority.configure_trust(context)
        return context

    @property
    def pin(self) -> str:
        return pin_of(ssl.PEM_cert_to_DER_cert(self.certificate.cert_chain_pems[0].bytes().decode()))

    def ca_file(self, folder: Path, name: str = "ca.pem") -> str:
        return self._written(folder / name, self.authority.cert_pem.bytes())

    def client(self, folder: Path, *, key: "Issued | None" = None) -> ClientCertificate:
        """The files that delivery shows."""
        pems = (key or self).certificate.private_key_pem.bytes()
        chain = b"".join(pem.bytes() for pem in self.certificate.cert_chain_pems)
        return ClientCertificate(
            self._written(folder / "client.pem", chain), self._written(folder / "client.key", pems)
        )

    @staticmethod
    def _written(file: Path, data: bytes) -> str:
        """Replaced as Kubernetes does it."""
        beside = file.with_suffix(".new")
        beside.write_bytes(data)
        beside.rename(file)
        return str(file)


@asynccontextmanager
async def smart(tls: ssl.SSLContext, *, implicit: bool = False) -> AsyncIterator[Mx]:
    async with Mx("smart.test", loopback_address(), script=Script(tls=tls, implicit=implicit)) as host:
        yield host


@asynccontextmanager
async def pool() -> AsyncIterator[Pool]:
    made = Pool(AttemptSettings(idle_s=60), "jetpost.test", most=10)
    yield made
    await made.aclose()


async def sent(host: Mx, terms: ConnectionTerms, by: Pool | None = None) -> Outcome:
    """What becomes of one message."""
    if by is None:
        async with pool() as own:
            return await sent(host, terms, own)
    (outcome,) = (await tried_with(by, [host], entry(Inline(LETTER)), terms=terms)).outcomes.values()
    return outcome


def why(outcome: Outcome) -> str:
    """Why a message waits: nothing is lost by a mistake in files."""
    assert isinstance(outcome, Deferred)
    return outcome.why


@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "implicit"])
async def test_the_pinned_key_counts_and_neither_name_nor_issuer_nor_expiry(*, implicit: bool) -> None:
    expired = datetime.now(UTC) - timedelta(days=1)
    issued = Issued("another-name.test", not_after=expired)
    async with smart(issued.server(), implicit=implicit) as host:
        terms = STRICT._replace(implicit=implicit)
        assert isinstance(await sent(host, terms._replace(pins=(issued.pin,))), Delivered)
        assert isinstance(await sent(host, terms._replace(pins=(OTHER, issued.pin))), Delivered)

        text = why(await sent(host, terms._replace(pins=(OTHER,))))
        assert f"its key is none of `pins`, but {issued.pin}" in text
        assert "CERTIFICATE_VERIFY_FAILED" in why(await sent(host, terms._replace(verified=PUBLIC_CAS)))
        assert host.heard["MAIL"] == 2


async def test_with_a_ca_file_both_count(tmp_path: Path) -> None:
    issued, other = Issued(), Issued()
    ca_file, other_ca = issued.ca_file(tmp_path), other.ca_file(tmp_path, "other.pem")
    async with smart(issued.server()) as host:
        assert isinstance(await sent(host, STRICT._replace(verified=ca_file, pins=(issued.pin,))), Delivered)
        assert "none of `pins`" in why(await sent(host, STRICT._replace(verified=ca_file, pins=(other.pin,))))
        text = why(await sent(host, STRICT._replace(verified=other_ca, pins=(issued.pin,))))
        assert "CERTIFICATE_VERIFY_FAILED" in text
        assert host.heard["MAIL"] == 1


@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "implicit"])
async def test_a_host_that_requires_a_certificate_gets_it(tmp_path: Path, *, implicit: bool) -> None:
    issued, ours = Issued(), Issued("jetpost.test")
    terms = STRICT._replace(implicit=implicit, verified=issued.ca_file(tmp_path), client=ours.client(tmp_path))
    async with smart(issued.server(ours), implicit=implicit) as host:
        assert isinstance(await sent(host, terms), Delivered)
        assert isinstance(await sent(host, terms._replace(client=None)), Deferred)
        assert isinstance(await sent(host, terms._replace(verified="", pins=(issued.pin,))), Delivered)
        assert host.heard["MAIL"] == 2


async def test_a_key_that_does_not_fit_defers_until_the_files_are_right(tmp_path: Path) -> None:
    issued, ours, other = Issued(), Issued("jetpost.test"), Issued("other.test")
    terms = STRICT._replace(client=ours.client(tmp_path, key=other))
    async with smart(issued.server(ours)) as host:
        assert "client.key: the key is of another certificate" in why(await sent(host, terms))

        ours.client(tmp_path)
        assert isinstance(await sent(host, terms), Delivered)


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("client.pem", "nothing", "cannot use"),
        ("client.key", "", "cannot use"),
        ("client.key", None, "No such file"),
        ("client.pem", None, "No such file"),
    ],
)
async def test_files_that_are_of_no_use_defer(tmp_path: Path, file: str, text: str | None, says: str) -> None:
    issued, ours = Issued(), Issued("jetpost.test")
    terms = STRICT._replace(client=ours.client(tmp_path))
    (tmp_path / file).unlink()
    if text is not None:
        (tmp_path / file).write_text(text)
    async with smart(issued.server(ours)) as host:
        assert says in why(await sent(host, terms))


async def test_a_key_with_a_password_is_refused_and_nobody_is_asked_for_it(tmp_path: Path) -> None:
    issued, ours = Issued(), Issued("jetpost.test")
    terms = STRICT._replace(client=ours.client(tmp_path))
    key = serialization.load_pem_private_key(ours.certificate.private_key_pem.bytes(), None)
    form = serialization.PrivateFormat.PKCS8
    (tmp_path / "client.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, ENCRYPTED))
    async with smart(issued.server(ours)) as host:
        assert "the key is encrypted" in why(await sent(host, terms))


async def test_a_renewed_certificate_is_shown_and_connections_with_the_old_one_are_not_used(tmp_path: Path) -> None:
    issued, old, new = Issued(), Issued("jetpost.test"), Issued("jetpost.test")
    terms = STRICT._replace(client=old.client(tmp_path))
    async with smart(issued.server(old)) as host, pool() as kept:
        for _ in range(2):
            assert isinstance(await sent(host, terms, kept), Delivered)
        assert host.connections == 1

        new.client(tmp_path)
        host.script.tls = issued.server(new)
        for _ in range(2):
            assert isinstance(await sent(host, terms, kept), Delivered)
        assert host.connections == 2


async def test_the_end_of_a_client_certificate_is_a_metric(tmp_path: Path) -> None:
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(days=3)
    issued, ours = Issued(), Issued("jetpost.test", not_after=ends)
    client = ours.client(tmp_path)
    async with smart(issued.server(ours)) as host:
        assert isinstance(await sent(host, STRICT._replace(client=client)), Delivered)
    assert EXPIRES.labels(client.certificate_file)._value.get() == ends.timestamp()


async def test_a_renewal_that_is_of_no_use_leaves_the_previous_certificate(tmp_path: Path) -> None:
    issued, ours, other = Issued(), Issued("jetpost.test"), Issued("other.test")
    terms = STRICT._replace(client=ours.client(tmp_path))
    async with smart(issued.server(ours)) as host:
        assert isinstance(await sent(host, terms), Delivered)
        ours.client(tmp_path, key=other)
        assert isinstance(await sent(host, terms), Delivered)


async def test_a_renewed_ca_file_counts_also_for_connections_that_are_kept(tmp_path: Path) -> None:
    old, new = Issued(), Issued()
    terms = STRICT._replace(verified=old.ca_file(tmp_path))
    async with smart(old.server()) as host, pool() as kept:
        assert isinstance(await sent(host, terms, kept), Delivered)

        new.ca_file(tmp_path)
        assert "CERTIFICATE_VERIFY_FAILED" in why(await sent(host, terms, kept))
        host.script.tls = new.server()
        assert isinstance(await sent(host, terms, kept), Delivered)

        (tmp_path / "ca.pem").write_text("nothing")
        assert isinstance(await sent(host, terms), Delivered)
