"""`up.json` in the data folder: how to reach the system that runs there, for the other commands and the next start."""

import os
from pathlib import Path

import msgspec
from pydantic import SecretStr

from jetpost.jetstream.settings import Nats
from jetpost.up.streams import Seen

FILE = "up.json"


class Process(msgspec.Struct, frozen=True):
    """One process of the system."""

    pid: int
    http_port: int = 0
    """Port of its health and metrics on loopback; 0 while unknown."""


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """A system: its embedded nats-server, and its processes while it runs."""

    nats_port: int
    monitoring_port: int
    password: str
    """Of the user `jetpost` at the nats-server; other users of the machine must not get at the queue."""
    config: str = ""
    """The configuration file."""
    processes: dict[str, Process] = {}
    streams: dict[str, Seen] = {}
    """What the server had when it ran last: its next start must have it again."""

    def nats(self) -> Nats:
        """How to reach the server."""
        servers = (f"nats://127.0.0.1:{self.nats_port}",)
        return Nats(servers=servers, user="jetpost", password=SecretStr(self.password))

    def environment(self) -> dict[str, str]:
        """The variables that point a process or a command at this system's queue."""
        return {
            "JETPOST_NATS__SERVERS": f"['nats://127.0.0.1:{self.nats_port}']",
            "JETPOST_NATS__MONITORING": f"['http://127.0.0.1:{self.monitoring_port}']",
            "JETPOST_NATS__USER": "jetpost",
            "JETPOST_NATS__PASSWORD": self.password,
            "JETPOST_QUEUE__STORE_PROTECTED": "true",
        }


def read(data: Path) -> Running | None:
    """What the data folder says; None when no system ever ran there."""
    try:
        return msgspec.json.decode((data / FILE).read_bytes(), type=Running)
    except (OSError, msgspec.MsgspecError):
        return None


def write(data: Path, running: Running) -> None:
    """Replace what the data folder says, readable by its owner only."""
    fresh = data / f"{FILE}.new"
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(running)) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(data / FILE)
