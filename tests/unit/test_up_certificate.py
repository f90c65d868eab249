"""The self-signed certificate of a first try is good enough for a client that trusts it."""

import ssl
import stat
from pathlib import Path

import pytest

from jetpost.up.certificate import self_signed


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> None:
    """A TLS handshake in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(4):
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert sides[0].version() == "TLSv1.3"


@pytest.mark.parametrize("name", ["mx.example.test", "localhost", "127.0.0.1"])
def test_a_client_that_trusts_the_certificate_accepts_it(tmp_path: Path, name: str) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    self_signed("mx.example.test", certificate, key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    client = ssl.create_default_context(cafile=certificate)
    client.verify_flags |= ssl.VERIFY_X509_STRICT

    handshake(server, client, name)

    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_a_client_that_does_not_trust_it_refuses(tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    self_signed("mx.example.test", certificate, key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)

    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server, ssl.create_default_context(), "mx.example.test")
