"""TLS contexts of outgoing connections follow their files, and say once for each change that one is of no use."""

from pathlib import Path

from structlog.testing import capture_logs

from delivery.security.contexts import context_for
from jetpost.up.certificate import self_signed


def test_a_ca_file_of_no_use_is_told_once_for_each_change(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    self_signed("mx.test", ca, tmp_path / "key.pem")
    good = ca.read_bytes()
    first = context_for(str(ca))

    with capture_logs() as lines:
        for content in (b"nonsense", b"other nonsense"):
            ca.write_bytes(content)
            assert all(context_for(str(ca)) is first for _ in range(5))
        assert len(lines) == 2
        ca.write_bytes(good + b"\n")
        assert context_for(str(ca)) is not first
        ca.write_bytes(b"nonsense")
        for _ in range(5):
            context_for(str(ca))

    assert [it["event"] for it in lines] == ["cannot use renewed CA file or client certificate, keeping previous"] * 3
