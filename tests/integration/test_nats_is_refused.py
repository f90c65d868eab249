"""A connection to NATS that is refused: it is made again when it can be, and says why it is not until then."""

import asyncio
import gc
import json
import shutil
import signal
import sys
from pathlib import Path

import pytest
import yaml
from pydantic import SecretStr

from jetpost.jetstream.connection import JetStream
from jetpost.jetstream.settings import Nats
from jetpost.up.probe import get
from tests.fixtures.certificates import Certificates
from tests.fixtures.eventually import PATIENCE_S, eventually, eventually_asked
from tests.fixtures.nats import NatsServer
from tests.fixtures.process import Service

_TLS = 'tls {{ cert_file: "{0}", key_file: "{1}" }}'


class Authority(Certificates):
    """A CA of its own, and a server certificate."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        super().__init__(folder)

    @property
    def configuration(self) -> str:
        """For a nats-server."""
        return _TLS.format(self.certificate_file, self.key_file)


@pytest.fixture
def old(tmp_path: Path) -> Authority:
    """The CA when everything starts."""
    return Authority(tmp_path / "old")


@pytest.fixture
def new(tmp_path: Path) -> Authority:
    """The CA that replaces it."""
    return Authority(tmp_path / "new")


def login(password: str) -> str:
    """The lines of a server that wants it."""
    return f'authorization {{ user: jetpost, password: "{password}" }}'


def open_files() -> int:
    """How many this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def restarted(server: NatsServer, configuration: str) -> None:
    """The server with another configuration, on the same data."""
    await server.kill()
    server.configure(configuration)
    await server.start()


async def test_the_ca_at_the_start_and_the_one_of_now_are_trusted(
    tmp_path: Path, old: Authority, new: Authority
) -> None:
    ca_file = tmp_path / "ca.pem"
    shutil.copy(old.ca_file, ca_file)
    server = NatsServer(tmp_path)
    server.configure(old.configuration)
    async with server:
        jetstream = await JetStream.connect(Nats(servers=(server.url,), ca_file=ca_file), "test")
        shutil.copy(new.ca_file, ca_file)
        for shown in (new, old, new):  # servers follow in any order, and one that has not may start again
            generation = jetstream.generation
            await restarted(server, shown.configuration)
            await eventually(lambda: jetstream.generation > generation, str(shown.ca_file))  # noqa: B023 — now
            assert jetstream.trouble() is None

        ca_file.write_text("half a certifi")
        await restarted(server, new.configuration)
        await eventually(lambda: jetstream.connected, "what was read last stays")
        await jetstream.close()


async def test_a_third_ca_is_not_trusted(tmp_path: Path, old: Authority, new: Authority) -> None:
    ca_file = tmp_path / "ca.pem"
    shutil.copy(old.ca_file, ca_file)
    server = NatsServer(tmp_path)
    server.configure(old.configuration)
    async with server:
        jetstream = await JetStream.connect(Nats(servers=(server.url,), ca_file=ca_file), "test")
        shutil.copy(new.ca_file, ca_file)
        await restarted(server, Authority(tmp_path / "strange").configuration)

        await eventually(lambda: "certificate verify failed" in (jetstream.trouble() or ""), "it says why")
        assert server.url in (jetstream.trouble() or "")
        assert "_ssl.c" not in (jetstream.trouble() or "")
        await restarted(server, old.configuration)
        await eventually(lambda: jetstream.connected, "it has gone on trying")
        await jetstream.close()


async def test_a_password_that_is_not_taken_any_more_is_told_and_tried_again(tmp_path: Path) -> None:
    server = NatsServer(tmp_path)
    server.configure(login("first"))
    async with server:
        settings = Nats(servers=(server.url,), user="jetpost", password=SecretStr("first"))
        jetstream = await JetStream.connect(settings, "test")
        server.configure(login("second"))
        server.signal(signal.SIGHUP)  # reload: whoever has the old one is turned out
        await eventually(lambda: "Authorization Violation" in (jetstream.trouble() or ""), "it says why")
        assert "first" not in (jetstream.trouble() or "")

        server.configure(login("first"))
        server.signal(signal.SIGHUP)

        await eventually(lambda: jetstream.connected, "it has gone on trying")
        await jetstream.close()


async def test_who_waits_for_the_first_connection_is_told_why(tmp_path: Path, old: Authority, new: Authority) -> None:
    server = NatsServer(tmp_path)
    server.configure(old.configuration + "\n" + login("right"))
    async with server:
        for settings, why in {
            Nats(servers=(server.url,), ca_file=new.ca_file): "certificate verify failed: ",
            Nats(servers=(server.url,), ca_file=old.ca_file): "Authorization Violation",
            Nats(servers=("nats://user:secret@127.0.0.1:1",)): "Connect call failed",
        }.items():
            reasons: list[str] = []
            connecting = asyncio.create_task(JetStream.connect(settings, "test", reasons.append))
            await eventually(lambda: reasons, why)  # noqa: B023 — now
            connecting.cancel()
            await asyncio.gather(connecting, return_exceptions=True)
            assert why in reasons[0], reasons
            assert reasons[0].startswith("cannot connect to NATS nats://127.0.0.1:")
            assert "secret" not in reasons[0]


async def test_the_first_connection_is_made_when_the_file_has_the_right_ca(
    tmp_path: Path, old: Authority, new: Authority
) -> None:
    ca_file = tmp_path / "ca.pem"
    shutil.copy(new.ca_file, ca_file)
    server = NatsServer(tmp_path)
    server.configure(old.configuration)
    async with server:
        reasons: list[str] = []
        settings = Nats(servers=(server.url,), ca_file=ca_file)
        connecting = asyncio.create_task(JetStream.connect(settings, "test", reasons.append))
        await eventually(lambda: len(reasons) > 1, "it tries again")
        shutil.copy(old.ca_file, ca_file)
        await (await asyncio.wait_for(connecting, PATIENCE_S)).close()


async def test_tries_in_vain_leave_no_file_open(tmp_path: Path, old: Authority, new: Authority) -> None:
    server = NatsServer(tmp_path)
    server.configure(old.configuration + "\n" + login("right"))
    async with server:
        gc.disable()
        try:
            for settings in (
                Nats(servers=(server.url,), ca_file=new.ca_file),
                Nats(servers=(server.url,), ca_file=old.ca_file),
            ):
                reasons: list[str] = []
                connecting = asyncio.create_task(JetStream.connect(settings, "test", reasons.append))
                await eventually(lambda: reasons, "the first try")  # noqa: B023 — now
                before = open_files()
                await eventually(lambda: len(reasons) >= 6, "more tries")  # noqa: B023 — now
                assert open_files() <= before + 1
                connecting.cancel()
                await asyncio.gather(connecting, return_exceptions=True)
        finally:
            gc.enable()


async def test_a_service_that_waits_says_why_in_its_log_and_at_readyz(
    tmp_path: Path, old: Authority, new: Authority
) -> None:
    server = NatsServer(tmp_path)
    server.configure(old.configuration)
    file = tmp_path / "jetpost.yaml"
    nats = {"servers": [server.url], "ca_file": str(new.ca_file)}
    file.write_text(yaml.safe_dump({"hostname": "jetpost.test", "nats": nats, "log": {"format": "json"}}))
    service = Service("bouncer", [sys.executable, "-m", "bouncer"], tmp_path / "bouncer.log")
    service.environment["JETPOST_CONFIG"] = str(file)

    async def reason() -> str:
        answer = await get(service.http_port, "/readyz")
        return str(json.loads(answer.body)["reasons"]["process"]) if answer is not None else ""

    async def says_why() -> bool:
        return "certificate verify failed" in await reason()

    async with server:
        service.launch()
        try:
            await eventually_asked(says_why, "readyz says why")
            told = [line for line in service.log_lines() if line["event"] == "cannot connect to NATS"]
            assert [(line["server"], line["level"]) for line in told] == [(server.url, "warning")], "one in ten seconds"
            assert "certificate verify failed" in told[0]["error"]
        finally:
            assert await asyncio.wait_for(service.stop(), PATIENCE_S) == 0
