"""A process refuses servers that would not keep the promise, and says why instead of crashing."""

import sys
from pathlib import Path

import yaml

from tests.fixtures.nats import NatsServer
from tests.fixtures.process import Service


async def test_a_server_without_fsync_is_refused_with_the_reason_and_no_traceback(tmp_path: Path) -> None:
    lazy = NatsServer(tmp_path)
    lazy._configuration_file.write_text(lazy._configuration_file.read_text().replace("sync_interval: always", ""))
    async with lazy:
        configuration = tmp_path / "jetpost.yaml"
        nats = {"servers": [lazy.url], "monitoring": [lazy.monitoring_url]}
        configuration.write_text(yaml.safe_dump({"nats": nats, "log": {"format": "json"}}))
        command = [sys.executable, "-m", "bouncer", "--config", str(configuration)]
        service = Service("bouncer", command, tmp_path / "bouncer.log")
        service.launch()
        assert await service.gone() == 78
        (refused,) = [line for line in service.log_lines() if line["event"] == "refused to start"]
        assert "sync_interval" in refused["reason"]
        assert "Traceback" not in service.log_file.read_text()
