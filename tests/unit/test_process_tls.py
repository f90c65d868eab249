"""Certificates that are renewed while a process runs."""

import ssl
from pathlib import Path

from structlog.testing import capture_logs

from jetpost.process.tls import Reloading, Tls, server_context
from jetpost.up.certificate import self_signed


def shown(server: ssl.SSLContext) -> bytes | None:
    """The certificate that a client is shown by `server`."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    theirs = client.wrap_bio(to_client, to_server)
    ours = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (theirs, ours):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return theirs.getpeercert(binary_form=True)


def test_a_renewed_certificate_is_shown_without_a_restart(tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    self_signed("mx.test", certificate, key)
    reloading = Reloading(Tls(certificate=certificate, key=key))
    first = shown(reloading.context)
    assert first == ssl.PEM_cert_to_DER_cert(certificate.read_text())
    assert not reloading.refresh()

    self_signed("mx.test", certificate, key)

    assert reloading.refresh()
    assert shown(reloading.context) == ssl.PEM_cert_to_DER_cert(certificate.read_text()) != first


def test_half_a_renewal_changes_nothing(tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    self_signed("mx.test", certificate, key)
    reloading = Reloading(Tls(certificate=certificate, key=key))
    first = shown(reloading.context)

    with capture_logs() as lines:
        self_signed("mx.test", certificate, tmp_path / "another.pem")
        assert not any(reloading.refresh() for _ in range(3))
        assert len(lines) == 1, "told once for each change"
        key.unlink()
        assert not any(reloading.refresh() for _ in range(3))
        assert len(lines) == 2

    assert shown(reloading.context) == first


def test_a_connection_has_one_handshake(tmp_path: Path) -> None:
    self_signed("mx.test", tmp_path / "certificate.pem", tmp_path / "key.pem")

    context = server_context(tmp_path / "certificate.pem", tmp_path / "key.pem")

    assert context.options & ssl.OP_NO_RENEGOTIATION
