"""A port that is taken, or an address that this machine does not have: one line says which, and where it is set."""

import socket
import sys
from pathlib import Path

import pytest

from tests.fixtures.process import Service
from tests.fixtures.system import System


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"JETPOST_HTTP__PORT": "{taken}"},
            "cannot listen on 127.0.0.1 port {taken} (http.port): Address already in use",
        ),
        (
            {"JETPOST_HTTP__HOST": "192.0.2.1"},
            "cannot listen on 192.0.2.1 port {http} (http.port): Cannot assign requested address",
        ),
        (
            {"JETPOST_INGRESS__LISTENERS": "[{{name: relay, port: {taken}, host: 127.0.0.1}}]"},
            "cannot listen on 127.0.0.1 port {taken} (ingress.listeners, relay): Address already in use",
        ),
        (
            {"JETPOST_INGRESS__LISTENERS": "[{{name: tls, port: {taken}, host: 127.0.0.1, tls: implicit}}]"},
            "cannot listen on 127.0.0.1 port {taken} (ingress.listeners, tls): Address already in use",
        ),
        (
            {"JETPOST_INGRESS__LISTENERS": "[{{name: relay, port: {http}, host: no-such-host.invalid}}]"},
            # What follows is up to the resolver of the machine.
            "cannot listen on no-such-host.invalid port {http} (ingress.listeners, relay): ",
        ),
    ],
    ids=["http", "an address of others", "a listener", "a TLS listener", "a name"],
)
async def test_one_line_says_which_port_and_where_it_is_set(
    system: System, tmp_path: Path, changed: dict[str, str], said: str
) -> None:
    command = [sys.executable, "-m", "ingress", "--config", str(system.configuration_file)]
    second = Service("second", command, tmp_path / "second.log")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = {"taken": taken.getsockname()[1], "http": second.http_port}
        second.environment |= {key: value.format(**ports) for key, value in changed.items()}
        second.launch()
        assert await second.gone() == 1
    (line,) = (line for line in second.log_lines() if line["event"] == "cannot listen")
    expected = said.format(**ports)
    assert line["reason"].startswith(expected)
    assert len(line["reason"]) > len(expected) if said.endswith(" ") else line["reason"] == expected
    assert "Traceback" not in second.log_file.read_text()
