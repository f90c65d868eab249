"""A process refuses servers that would not keep the promise, and says why instead of crashing."""

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from jetpost.config.refused import Unsafe
from jetpost.up.nats.nats_server import packaged
from tests.fixtures.nats import NatsServer
from tests.fixtures.process import Service
from tests.fixtures.queue import opened


async def refusal(server: NatsServer, folder: Path, **queue: Any) -> str:
    """Why a bouncer does not start on `server`: its last word, without a traceback and with exit status 78."""
    configuration = folder / "jetpost.yaml"
    nats = {"servers": [server.url], "monitoring": [server.monitoring_url]}
    configuration.write_text(yaml.safe_dump({"nats": nats, "queue": queue, "log": {"format": "json"}}))
    command = [sys.executable, "-m", "bouncer", "--config", str(configuration)]
    service = Service("bouncer", command, folder / "bouncer.log")
    service.launch()
    assert await service.gone() == 78
    assert "Traceback" not in service.log_file.read_text()
    (refused,) = [line for line in service.log_lines() if line["event"] == "refused to start"]
    return str(refused["reason"])


async def test_a_server_without_fsync_is_refused_with_the_reason_and_no_traceback(tmp_path: Path) -> None:
    lazy = NatsServer(tmp_path)
    lazy._configuration_file.write_text(lazy._configuration_file.read_text().replace("sync_interval: always", ""))
    async with lazy:
        assert "sync_interval" in await refusal(lazy, tmp_path, store_protected=True)


async def test_a_server_that_deletes_what_it_cannot_read_is_taken_only_where_its_files_are_protected(
    tmp_path: Path,
) -> None:
    async with NatsServer(tmp_path, binary=packaged() or "") as older:
        reason = await refusal(older, tmp_path)
        assert "the connected nats-server is 2.15.1" in reason
        assert f"nats-server at {older.monitoring_url} is 2.15.1" in reason
        assert "it deletes a stream when it cannot open one of its files at start" in reason
        assert "replace it by 2.15.3 or newer" in reason
        with pytest.raises(Unsafe):
            async with opened(older, store_protected=False):
                pass
        async with opened(older, store_protected=True) as queue:
            assert queue.trouble() is None
