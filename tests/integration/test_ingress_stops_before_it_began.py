"""SIGTERM while the queue is away from the start: there is nothing to drain, so ingress is gone at once."""

import signal
import sys
from pathlib import Path

import yaml

from jetpost.up.probe import free_port
from tests.fixtures.eventually import eventually
from tests.fixtures.process import Service


async def test_ingress_that_waits_for_the_queue_obeys_sigterm(tmp_path: Path) -> None:
    nowhere = f"nats://127.0.0.1:{free_port()}"
    file = tmp_path / "jetpost.yaml"
    file.write_text(yaml.safe_dump({"hostname": "jetpost.test", "nats": {"servers": [nowhere]}}))
    service = Service("ingress", [sys.executable, "-m", "ingress", "--config", str(file)], tmp_path / "ingress.log")
    service.launch()
    try:
        await eventually(lambda: any(line["event"] == "starting" for line in service.log_lines()), "it is starting")

        service.signal(signal.SIGTERM)

        await eventually(lambda: service.exit_status is not None, "it has stopped", within_s=10)
        assert service.exit_status == 0
    finally:
        if service.exit_status is None:
            await service.kill()
