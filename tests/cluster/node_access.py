"""The node of a cluster that is on this machine (`make node`): its processes, to be stopped."""

import os
from pathlib import Path

from tests.fixtures.kubernetes import RELEASE, Namespace


def missing() -> str | None:
    """What keeps a test from the node, or None."""
    return None if os.environ.get("CLUSTER_NODE") else "needs the node itself: make node"


def server(namespace: Namespace, pod: str) -> int:
    """The process id of the nats-server of a pod. StopIteration: none runs."""
    mark = f"{RELEASE}-nats.{namespace.name}.svc".encode()
    return next(
        pid for pid, words in _environments() if f"POD_NAME={pod}".encode() in words and mark in b"".join(words)
    )


def _environments() -> list[tuple[int, list[bytes]]]:
    """Of every nats-server."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "exe").readlink().name == "nats-server":
                found.append((int(process.name), (process / "environ").read_bytes().split(b"\0")))
        except OSError:  # it has ended
            continue
    return found
